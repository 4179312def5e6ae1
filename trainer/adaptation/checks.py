"""Checks before any text is read: model, tokenizer, plan and device, and whether --out is this adaptation's folder."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.integrations.integration_utils import get_available_reporting_integrations

from trainer.adaptation.record import OptionsRecord
from trainer.init import Extension, read_extension
from trainer.init.models import checked_config, has_tokenizer, model_folder, refuse_quantized
from trainer.layout import layout_of
from trainer.memory.build import build
from trainer.memory.target import checked_context
from trainer.options import DEFAULT_CONTEXT, IDLE_OPTIONS, AdaptOptions, changed_option
from trainer.plan import Lora, Plan, plan_by_name, stage_blocks
from trainer.processes import join_processes, n_processes, pick_device
from trainer.stages import Precision
from trainer.stages.freeze import add_adapters
from vocabopt.console import Console
from vocabopt.errors import ModelError, OptionError, PlanError, RunDirectoryError
from vocabopt.folder import check_own_folder, check_writable, digest
from vocabopt.records import read_record, write_record
from vocabopt.training_record import ADAPT_JSON, AdaptRecord


@dataclass(frozen=True, kw_only=True)
class Checked:
    """options: with the context that is taken. config: of the model, held against its weights; model_notes: what they
    say otherwise. files: what identifies model and tokenizer by content."""

    options: AdaptOptions
    model: Path
    config: PreTrainedConfig
    model_notes: tuple[str, ...]
    extension: Extension
    plan: Plan
    precision: Precision
    device: torch.device
    files: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed, together with the options."""
        # Learning rates as the plan has them: --learning-rate-factor is one of the options.
        stages = _plan_as_written(self.options).as_record()["stages"]
        return {**self.files, "plan": list(stages), "precision": self.precision}


def check_early(options: AdaptOptions, console: Console) -> Checked:
    """Find and check everything that is not text.

    Raises:
        OptionError, PlanError, ModelError, BaseTokenizerError, RunDirectoryError: what cannot be used.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    _check_installation(options)
    if options.run is not None and not options.run.is_dir():
        raise OptionError(f"--run {options.run}: no such folder. Name the run directory of a sweep, after merge.")
    model = model_folder(options.model)
    checked = checked_config(model)
    config = checked.config
    refuse_quantized(config, model)
    # As many tokens as the model has positions, 1,024 at most, where none are asked for.
    context = checked_context(options.context_tokens, config, options.model)
    if options.context_tokens is None and context < DEFAULT_CONTEXT:
        console.note(f"--context: {context} tokens, which are all positions of {options.model}.")
    options = replace(options, context_tokens=context)
    options.check_layer(int(config.get_text_config().num_hidden_layers), options.model)
    plan = plan_of(options)
    _check_plan(plan, options, config)
    extension = _extension(options, model)
    if not has_tokenizer(model) and not (model / "vocab.json").is_file():
        raise ModelError(
            f"{model}: holds no tokenizer (tokenizer.json), and the base is measured with its own. Put the tokenizer's "
            "files beside the weights, or give a MODEL that has them."
        )
    device = join_processes(cpu=pick_device(options.device).type == "cpu")
    return Checked(
        options=options,
        model=model,
        config=config,
        model_notes=checked.notes,
        extension=extension,
        plan=plan,
        precision=_precision(options, device),
        device=device,
        files={
            "model": _weights_identity(model),
            "tokenizer": hashlib.sha256((options.tokenizer_dir / "tokenizer.json").read_bytes()).hexdigest(),
        },
    )


def _check_installation(options: AdaptOptions) -> None:
    """Whether what the options ask for is there."""
    available = get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    if unknown := next((name for name in options.report_to if name not in available), None):
        raise OptionError(
            f"--report-to {unknown}: transformers cannot report to it here. Install it, or choose "
            f"{', '.join(sorted(available))} or none."
        )
    if options.optimizer == "adamw-8bit" and find_spec("bitsandbytes") is None:
        raise OptionError(
            "--optimizer adamw-8bit: needs bitsandbytes, which is not installed. Install it: pip install bitsandbytes; "
            "or leave the option out."
        )
    if options.shard and n_processes() == 1:
        raise OptionError(
            "--shard: needs several processes. Start them: torchrun --nproc_per_node 2 --no-python -- vocabopt ..."
        )


def _check_plan(plan: Plan, options: AdaptOptions, config: PreTrainedConfig) -> None:
    """Whether the model has the blocks and layers that the plan names."""
    n_blocks = int(config.get_text_config().num_hidden_layers)
    for stage in plan.stages:
        try:
            stage_blocks(stage.blocks, n_blocks)
        except PlanError as error:
            raise PlanError(f"--plan {options.plan}, stage {stage.name!r}: {error}") from error
    for stage in plan.stages:
        if stage.lora is not None and stage.lora.targets:
            # Adapters change the model that they are put on: each stage takes one of its own, which has no memory.
            outline = build(config)
            try:
                add_adapters(outline, stage, layout_of(outline))
            except PlanError as error:
                raise PlanError(f"--plan {options.plan}, {error}") from error


def _extension(options: AdaptOptions, model: Path) -> Extension:
    """What the merged tokenizer added, if it is of the size that was asked for."""
    folder = options.tokenizer_dir
    size = "" if options.size is None else f" --size {options.size}"
    if not (folder / "tokenizer.json").is_file():
        merge = "vocabopt merge DIR --out TOK" if options.run is None else f"vocabopt merge {options.run}{size}"
        raise OptionError(f"{folder}: holds no merged tokenizer yet (no tokenizer.json). Run `{merge}` first.")
    extension = read_extension(folder, model)
    n_added = len(extension.new_ids)
    if not n_added:
        raise OptionError(f"{folder}: has no added tokens, so there is nothing to adapt to. Merge a size above 0.")
    if options.size is not None and options.size != n_added:
        raise OptionError(
            f"--size {options.size}: is not merged yet: {folder} has {n_added:,} added tokens. Run "
            f"`vocabopt merge {options.run or 'DIR'}{size} --out TOK` and name it with --tokenizer TOK."
        )
    return extension


def plan_of(options: AdaptOptions) -> Plan:
    """The plan by name or from its file, its learning rates by the factor that was asked for."""
    plan, factor = _plan_as_written(options), options.learning_rate_factor
    return replace(
        plan, stages=tuple(replace(stage, learning_rate=stage.learning_rate * factor) for stage in plan.stages)
    )


def _plan_as_written(options: AdaptOptions) -> Plan:
    return plan_by_name(options.plan, Lora(rank=options.lora_rank, alpha=2 * options.lora_rank))


def _precision(options: AdaptOptions, device: torch.device) -> Precision:
    """auto: bf16-mixed where the device computes in bf16 itself, else fp32."""
    if options.precision != "auto":
        return options.precision
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16-mixed" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def _weights_identity(folder: Path) -> str:
    """Of the model's folder: its config, and of its weights names, sizes and beginnings; whole they are too large."""
    parts: list[Any] = [hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()]
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        with path.open("rb") as file:
            parts.append([path.name, path.stat().st_size, hashlib.sha256(file.read(1 << 20)).hexdigest()])
    return digest(parts)


# --- Whose folder it is -----------------------------------------------------------------------------------------------


def _marker(options: AdaptOptions) -> Path:
    return options.out / "stages" / "options.json"


def check_folder(
    options: AdaptOptions, identity: Mapping[str, Any], console: Console, *, resume: bool
) -> AdaptRecord | None:
    """Whether the folder may be taken: an empty one or a sweep's own, or with `resume` that of the same adaptation.

    Args:
        identity: what is known of the inputs so far; the rest is compared by `take_folder`.

    Returns:
        What adapt.json holds, where the run is finished and these options ask for nothing more.

    Raises:
        RunDirectoryError: the folder holds another adaptation, or other files; resumed with other options or inputs.
    """
    if _is_begun(options):
        if not resume:
            raise RunDirectoryError(
                f"{options.out}: holds an adaptation already. Go on with it by --resume, or choose another folder with "
                "--out."
            )
        _check_same(options, identity)
        path = options.out / ADAPT_JSON
        if not (path.is_file() and (options.out / "model" / "config.json").is_file()):
            return None
        record = read_record(path, AdaptRecord)
        # Both may be given to a finished run: another arm to train, another gate to pass.
        asks_more = options.control and record.control is None
        asks_more = asks_more or options.max_forgetting != record.gate.max_forgetting
        return record if record.status == "finished" and not asks_more else None
    if resume:
        console.note(f"{options.out}: holds no adaptation to go on with; this one starts.")
    if options.run is not None and options.out.resolve() == options.run.resolve():
        check_writable(options.out)
    else:
        check_own_folder(options.out, "stages")
    return None


def take_folder(options: AdaptOptions, identity: Mapping[str, Any]) -> None:
    """Mark the folder as this adaptation's, or see that all its inputs are those that it was begun with.

    Raises:
        RunDirectoryError: they are not, or the folder cannot be written.
    """
    if _is_begun(options):
        _check_same(options, identity)
    else:
        write_record(_marker(options), OptionsRecord(options=options.as_record(), inputs=dict(identity)))


def _is_begun(options: AdaptOptions) -> bool:
    """Whether anything was computed. A run that failed before left nothing to lose: its folder may be taken anew."""
    stages = options.out / "stages"
    computed = [*stages.glob("0-init/start.json"), *stages.glob("*/stage.json")]
    return _marker(options).is_file() and bool(computed)


def _check_same(options: AdaptOptions, identity: Mapping[str, Any]) -> None:
    earlier = read_record(_marker(options), OptionsRecord)
    change = changed_option(earlier.options, options.as_record(), IDLE_OPTIONS)
    for name, now in json.loads(json.dumps(dict(identity))).items():
        before: Any = earlier.inputs.get(name)
        if change is not None or before == now:
            continue
        if name == "plan":
            change = f"another --plan {options.plan}: {'; '.join(_plan_changes(before, now))}"
        elif name == "precision":
            change = f"another --precision: {before} then, {now} now"
        else:
            change = f"another {name}: its content changed (hash {str(before)[:12]} then, {str(now)[:12]} now)"
    if change is not None:
        raise RunDirectoryError(
            f"{options.out}: --resume with {change}. Give what the run was started with, or choose another folder with "
            "--out."
        )


def _plan_changes(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    """Which fields of which stages differ, with both values."""
    names = [[stage["name"] for stage in stages] for stages in (before, now)]
    if names[0] != names[1]:
        yield f"stages {', '.join(names[0])} then, {', '.join(names[1])} now"
        return
    for earlier, later in zip(before, now, strict=True):
        for field, value in _flat(later).items():
            if (then := _flat(earlier).get(field)) != value:
                yield f"stage {later['name']!r}, {field} {then!r} then, {value!r} now"


def _flat(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's fields, those of its adapters as lora.rank."""
    lora = stage["lora"] or {}
    return {**stage, "lora": bool(lora)} | {f"lora.{field}": value for field, value in lora.items()}
