"""Where an adaptation starts: the base model measured, its new rows made, both measured again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.adaptation.arm import ArmRun
from trainer.adaptation.inputs import Inputs
from trainer.adaptation.measurements import EvalText, bits_per_byte
from trainer.adaptation.record import SampleRecord
from trainer.document_ends import DocumentEnds
from trainer.evaluate import continuations, pick_prompts
from trainer.evaluate.run import load_tokenizer, n_reloaded_otherwise
from trainer.init import init_model, save_model
from trainer.options import AdaptOptions
from trainer.processes import from_main, main_only
from vocabopt.console import Console
from vocabopt.fields import COUNT, NUMBER, Shape, check_fields
from vocabopt.folder import FORMAT_VERSION, read_json, write_json_atomic

_START: dict[str, Shape] = {
    "before": {"*": NUMBER},
    "initialised": {"*": NUMBER},
    "n_tokens_before": {"*": COUNT},
    "n_tokens_after": {"*": COUNT},
    "continued": {"*": str},
    "init_log": {},
    "n_params": COUNT,
}


@dataclass(frozen=True, kw_only=True)
class Start:
    """What start.json holds, next to the initialised model.

    before, initialised: text -> bits per byte of the base with its own tokenizer, and after initialisation (empty where
    that was not measured).
    n_tokens_before, n_tokens_after: text -> tokens under the base and the merged tokenizer. continued: prompt -> what
    the base writes.
    """

    before: Mapping[str, float]
    initialised: Mapping[str, float]
    n_tokens_before: Mapping[str, int]
    n_tokens_after: Mapping[str, int]
    continued: Mapping[str, str]
    init_log: Mapping[str, Any]
    n_params: int

    def continued_by(
        self, model: PreTrainedModel, tokenizer: Path, options: AdaptOptions, ends: DocumentEnds, console: Console
    ) -> tuple[SampleRecord, ...]:
        """The same prompts continued by the adapted model."""
        if not self.continued:
            return ()
        with console.step("sample"):
            after = continuations(
                model,
                load_tokenizer(str(tokenizer)),
                list(self.continued),
                n_tokens=options.sample_tokens,
                ends=ends,
            )
        return tuple(
            SampleRecord(prompt=prompt, before=before, after=now)
            for (prompt, before), now in zip(self.continued.items(), after, strict=True)
        )


def initialised_model(options: AdaptOptions) -> Path:
    """Where the model with its new rows is, once `initialise` made it."""
    return options.out / "stages" / "0-init" / "model"


def initialise(options: AdaptOptions, inputs: Inputs, run: ArmRun) -> Start:
    """Measure the base, make the new rows, measure again, and write the model; or take what an earlier run left."""
    path = initialised_model(options).with_name("start.json")
    if not from_main(path.is_file):
        _make_start(options, inputs, path, run)
    next_step = "Remove it and the model beside it: both are made again."
    record = read_json(path, next_step=next_step)
    check_fields(record, _START, path, next_step)
    return Start(**{name: record[name] for name in _START})


def _make_start(options: AdaptOptions, inputs: Inputs, path: Path, run: ArmRun) -> None:
    console = run.console
    model = run.load(inputs.model)
    base_tokenizer = _tokenizer(inputs.model, console)
    tokenizer = _tokenizer(options.tokenizer_dir, console)
    before = run.scores("the base model", model, base_tokenizer)
    prompts = _prompts(inputs.evals, options)
    continued: list[str] = []
    if prompts:
        with console.step("sample"):
            continued = continuations(model, base_tokenizer, prompts, n_tokens=options.sample_tokens, ends=inputs.ends)
    with console.step(f"initialise {len(inputs.extension.new_ids):,} rows"):
        log = init_model(model, inputs.extension, method=options.init, match_norm=options.match_norm, seed=options.seed)
    initialised = run.scores("after initialisation", model, tokenizer) if run.eval_every == "stage" else {}
    record = {
        "format_version": FORMAT_VERSION,
        "before": bits_per_byte(before),
        "initialised": bits_per_byte(initialised),
        "n_tokens_before": {name: score.n_tokens for name, score in before.items()},
        "n_tokens_after": {text.name: _n_tokens(tokenizer, text) for text in inputs.evals},
        "continued": dict(zip(prompts, continued, strict=True)),
        "init_log": log.as_record(),
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
    }

    def write() -> None:
        save_model(model, initialised_model(options))
        # Last: its presence means that the model is whole.
        write_json_atomic(path, record)

    main_only(write)


def _tokenizer(folder: Path, console: Console) -> PreTrainedTokenizerBase:
    """As transformers loads it; the console says where that differs from its tokenizer.json."""
    tokenizer = load_tokenizer(str(folder))
    if n_otherwise := n_reloaded_otherwise(str(folder), tokenizer):
        console.note(
            f"{folder}: transformers builds this tokenizer anew and gives other ids than its tokenizer.json on "
            f"{n_otherwise:,} of the built-in lines. What is measured and trained on here is what transformers gives."
        )
    return tokenizer


def _n_tokens(tokenizer: PreTrainedTokenizerBase, text: EvalText) -> int:
    encoded = tokenizer(list(text.documents), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return sum(len(ids) for ids in encoded["input_ids"])


def _prompts(evals: Sequence[EvalText], options: AdaptOptions) -> list[str]:
    """Beginnings of documents of the first target text."""
    target = next((text for text in evals if text.role == "target"), evals[0])
    return pick_prompts(target.documents, n=options.n_samples, seed=options.seed)
