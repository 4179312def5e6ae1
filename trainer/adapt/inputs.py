"""What an adaptation needs, found and checked before anything is computed."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig
from transformers.integrations.integration_utils import get_available_reporting_integrations

from trainer.adapt.arm import ArmRun
from trainer.adapt.evals import EvalText, eval_text
from trainer.adapt.options import AdaptOptions
from trainer.data import (
    HeldOut,
    PackedText,
    TextPlan,
    TokenSample,
    budget_in_bytes,
    cut_text,
    hashes_of_documents,
    held_out_documents,
    parse_budget,
    scan_text,
    target_and_replays,
)
from trainer.devices import pick_device
from trainer.evaluate.subject import load_tokenizer
from trainer.init import Extension, read_extension
from trainer.init.folders import model_folder
from trainer.plan import Lora, Plan, stage_blocks
from trainer.plan_file import plan_by_name
from trainer.processes import join_processes, n_processes
from trainer.stages import Precision, StageSettings
from vocabopt.artifacts import digest
from vocabopt.blocks import texts_of
from vocabopt.choice.options import parse_bytes
from vocabopt.console import Console
from vocabopt.corpus import named_set
from vocabopt.errors import OptionError, PlanError
from vocabopt.run_files import read_sweep

DEFAULT_HELDOUT = 0.05
#: Windows measured at once.
EVAL_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything found: the extension, the plan, every stage's text, the texts to measure on.

    budget_sample: what a budget in tokens was turned into bytes by. files: what identifies the model, the tokenizer
    and the text by content.
    """

    model: Path
    extension: Extension
    plan: Plan
    text: TextPlan
    budget_sample: Mapping[str, TokenSample]
    evals: tuple[EvalText, ...]
    heldout: HeldOut
    precision: Precision
    device: torch.device
    files: Mapping[str, str]

    @property
    def base_texts(self) -> tuple[str, ...]:
        """Names of the evaluation texts of the base's language."""
        return tuple(text.name for text in self.evals if text.role == "base")

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        """What weights are held in."""
        return "bfloat16" if self.precision == "bf16" else "float32"

    @property
    def device_name(self) -> str:
        if self.device.type == "cuda":
            return f"{n_processes()} x {torch.cuda.get_device_name(self.device)}"
        threads = torch.get_num_threads()
        each = f"{threads} thread{'s' if threads > 1 else ''}"
        return f"CPU, {each}" if n_processes() == 1 else f"CPU, {n_processes()} processes of {each}"

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be gone on with, beside the options."""
        return {**self.files, "plan": digest(self.plan.as_record()), "precision": self.precision}

    def resolved(self) -> dict[str, Any]:
        """Options that were left open, as they were taken."""
        return {"heldout": self.heldout.share, "heldout_seed": self.heldout.seed, "precision": self.precision}

    def arm_run(self, options: AdaptOptions, *, resume: bool, console: Console) -> ArmRun:
        """What the arms of the comparison share."""
        return ArmRun(
            text=self.text,
            evals=self.evals,
            settings_of=lambda packed: settings_for(options, self.precision, packed),
            context_tokens=options.context_tokens,
            eval_batch=min(EVAL_BATCH, options.micro_batch),
            resume=resume,
            console=console,
            dtype=self.dtype,
            device=self.device,
        )


def read_inputs(options: AdaptOptions, console: Console) -> Inputs:
    """Find and check everything.

    Raises:
        OptionError, PlanError, ModelError, CorpusError, BaseTokenizerError, RunDirectoryError: what cannot be used.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    state = join_processes(cpu=pick_device(options.device).type == "cpu")
    model = model_folder(options.model)
    _check_early(options, model)
    extension = _extension(options, model)
    plan = plan_of(options)
    heldout = _held_out(options)
    sources = target_and_replays(_target(options), _replays(options), options.read_options())
    named = {name: named_set(name, path, "eval") for name, path in options.evals.items()}
    exclude = hashes_of_documents((text_set, options.read_options()) for text_set in named.values())
    scanned = scan_text(sources, held_out=heldout, exclude=exclude, console=console)
    budget, sample = _budget(options, scanned)
    text = cut_text(scanned, budget_bytes=budget, stage_shares=plan.shares(), seed=options.seed)
    held_out = {
        source.name: held_out_documents(source.text_set, source.options, heldout)
        for source in sources
        if heldout.share > 0
    }
    given = {
        name: chain.from_iterable(block.to_list() for block in texts_of(text_set, options.read_options()))
        for name, text_set in named.items()
    }
    return Inputs(
        model=model,
        extension=extension,
        plan=plan,
        text=text,
        budget_sample=sample,
        evals=_evals(options, extension, {**held_out, **given}),
        heldout=heldout,
        precision=_precision(options, state.device),
        device=state.device,
        files={
            "model": weights_identity(model),
            "tokenizer": hashlib.sha256((options.tokenizer_dir / "tokenizer.json").read_bytes()).hexdigest(),
            "text": digest([text.stage(stage).fingerprint() for stage in range(text.n_stages)]),
        },
    )


def _check_early(options: AdaptOptions, model: Path) -> None:
    """What can be told before any text is read."""
    parse_budget(options.batch, "--batch")
    if options.budget is not None:
        parse_budget(options.budget)
    parse_bytes(options.eval_bytes, "--eval-bytes")
    if options.run is not None and not options.run.is_dir():
        raise OptionError(f"--run {options.run}: no such folder. Name the run directory of a sweep, after merge.")
    available = get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    if unknown := next((name for name in options.report_to if name not in available), None):
        raise OptionError(
            f"--report-to {unknown}: transformers cannot report to it here. Install it, or choose "
            f"{', '.join(sorted(available))} or none."
        )
    if (model / "config.json").is_file():
        config = AutoConfig.from_pretrained(model)
        positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        if positions is not None and options.context_tokens > positions:
            raise OptionError(
                f"--context {options.context_tokens}: the model has {positions:,} positions "
                f"(max_position_embeddings in its config.json). Give at most {positions}."
            )
        for stage in plan_of(options).stages:
            try:
                stage_blocks(stage.blocks, int(config.get_text_config().num_hidden_layers))
            except PlanError as error:
                raise PlanError(f"--plan {options.plan}, stage {stage.name!r}: {error}") from error


def _extension(options: AdaptOptions, model: Path) -> Extension:
    """What the merged tokenizer added, if it is of the size that was asked for."""
    folder = options.tokenizer_dir
    if not (folder / "tokenizer.json").is_file():
        merge = (
            "vocabopt merge DIR --out TOK" if options.run is None else f"vocabopt merge {options.run}{_size(options)}"
        )
        raise OptionError(f"{folder}: holds no merged tokenizer yet (no tokenizer.json). Run `{merge}` first.")
    extension = read_extension(folder, model)
    n_added = len(extension.new_ids)
    if not n_added:
        raise OptionError(f"{folder}: has no added tokens, so there is nothing to adapt to. Merge a size above 0.")
    if options.size is not None and options.size != n_added:
        raise OptionError(
            f"--size {options.size}: is not merged yet: {folder} has {n_added:,} added tokens. Run "
            f"`vocabopt merge {options.run or 'DIR'}{_size(options)} --out TOK` and name it with --tokenizer TOK."
        )
    return extension


def _size(options: AdaptOptions) -> str:
    return "" if options.size is None else f" --size {options.size}"


def plan_of(options: AdaptOptions) -> Plan:
    """The plan by name or from its file, its learning rates by the factor that was asked for."""
    plan = plan_by_name(options.plan, Lora(rank=options.lora_rank, alpha=2 * options.lora_rank))
    factor = options.learning_rate_factor
    return replace(
        plan, stages=tuple(replace(stage, learning_rate=stage.learning_rate * factor) for stage in plan.stages)
    )


def _target(options: AdaptOptions) -> tuple[str, str]:
    (target,) = options.texts.items()
    return target


def _replays(options: AdaptOptions) -> list[str]:
    return [f"{name}={path}:{share}" for name, (path, share) in options.replays.items()]


def _held_out(options: AdaptOptions) -> HeldOut:
    """As the sweep held them out, so that what the sizes were measured on is never trained on."""
    swept = None if options.run is None else HeldOut.of_sweep(read_sweep(options.run))
    share = options.heldout if options.heldout is not None else (DEFAULT_HELDOUT if swept is None else swept.share)
    return HeldOut(share=share, seed=0 if swept is None else swept.seed)


def _budget(options: AdaptOptions, scanned: Any) -> tuple[int | None, Mapping[str, TokenSample]]:
    if options.budget is None:
        return None, {}
    tokenizer = load_tokenizer(str(options.tokenizer_dir))
    return budget_in_bytes(parse_budget(options.budget), scanned, tokenizer)


def _evals(options: AdaptOptions, extension: Extension, texts: Mapping[str, Iterable[str]]) -> tuple[EvalText, ...]:
    max_bytes = parse_bytes(options.eval_bytes, "--eval-bytes")
    found = tuple(
        eval_text(
            name,
            documents,
            scripts=extension.scripts,
            is_base=name in options.base_evals or name in options.replays,
            max_bytes=max_bytes,
            place=f"evaluation text {name}",
        )
        for name, documents in texts.items()
    )
    if not found:
        raise OptionError("Nothing to measure on. Give --eval NAME=PATH, or hold documents out with --heldout 0.05.")
    return found


def _precision(options: AdaptOptions, device: torch.device) -> Precision:
    """auto: bf16-mixed where the device computes in bf16 itself, else fp32."""
    if options.precision != "auto":
        return options.precision
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16-mixed" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def settings_for(options: AdaptOptions, precision: Precision, packed: PackedText) -> StageSettings:
    """The settings of a stage. A batch in bytes takes as many blocks as hold that much of this stage's text."""
    batch = parse_budget(options.batch, "--batch")
    n_tokens = batch.amount if batch.unit == "tokens" else batch.amount * packed.n_tokens / packed.n_bytes
    # Whole blocks, as many on every process; then the largest micro-batch that divides them, so that it moves no batch.
    n_each = max(1, round(n_tokens / options.context_tokens / n_processes()))
    micro_batch = max(size for size in range(1, options.micro_batch + 1) if n_each % size == 0)
    return StageSettings(
        context_tokens=options.context_tokens,
        batch_tokens=n_each * n_processes() * options.context_tokens,
        micro_batch=micro_batch,
        precision=precision,
        gradient_checkpointing=options.gradient_checkpointing,
        compile=options.compile,
        optimizer=options.optimizer,
        fused_loss=options.fused_loss,
        shard=options.shard,
        save_every_steps=options.save_every_steps,
        log_every_steps=options.log_every_steps,
        seed=options.seed,
        report_to=options.report_to,
        cpu=options.device == "cpu",
        threads=options.threads,
    )


def weights_identity(folder: Path) -> str:
    """Of the model's folder: its config, and of its weights names, sizes and beginnings; whole they are too large."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    return digest([config, *[[path.name, path.stat().st_size, _beginning(path)] for path in files]])


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(1 << 20)).hexdigest()
