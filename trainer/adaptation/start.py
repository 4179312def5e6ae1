"""Where an adaptation starts: the base model measured, its new rows made, both measured again."""

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from trainer.adaptation.arm import Arm, Run
from trainer.adaptation.measurements import EvalText, bits_per_byte
from trainer.adaptation.record import SampleRecord, StartRecord
from trainer.evaluate import continuations, pick_prompts
from trainer.evaluate.run import load_tokenizer, n_reloaded_otherwise
from trainer.init import init_model, save_model
from trainer.options import AdaptOptions
from trainer.processes import from_main, main_only
from vocabopt.console import Console
from vocabopt.records import read_record, write_record


def initialised_model(options: AdaptOptions) -> Path:
    """Where the model with its new rows is, once `initialise` made it."""
    return options.out / "stages" / "0-init" / "model"


def initialise(run: Run) -> StartRecord:
    """Measure the base, make the new rows, measure again, and write the model; or take what an earlier run left."""
    path = initialised_model(run.inputs.options).with_name("start.json")
    if not from_main(path.is_file):
        _make_start(run, path)
    return read_record(path, StartRecord)


def _make_start(run: Run, path: Path) -> None:
    inputs, options, console = run.inputs, run.inputs.options, run.console
    model = run.load(inputs.model)
    base_tokenizer = _tokenizer(inputs.model, console)
    tokenizer = _tokenizer(options.tokenizer_dir, console)
    before = run.scores("the base model", model, base_tokenizer)
    # Beginnings of documents of the first target text.
    target = next((text for text in inputs.evals if text.role == "target"), inputs.evals[0])
    prompts = pick_prompts(target.documents, n=options.n_samples, seed=options.seed)
    continued = []
    if prompts:
        with console.step("sample"):
            continued = continuations(model, base_tokenizer, prompts, n_tokens=options.sample_tokens, ends=inputs.ends)
    with console.step(f"initialise {len(inputs.extension.new_ids):,} rows"):
        log = init_model(model, inputs.extension, method=options.init, match_norm=options.match_norm, seed=options.seed)
    measures = options.eval_every == "stage"
    start = StartRecord(
        before=bits_per_byte(before),
        initialised=bits_per_byte(run.scores("after initialisation", model, tokenizer)) if measures else {},
        n_tokens_before={name: score.n_tokens for name, score in before.items()},
        n_tokens_after={text.name: _n_tokens(tokenizer, text) for text in inputs.evals},
        continued=dict(zip(prompts, continued, strict=True)),
        init_log=log,
        n_params=sum(parameter.numel() for parameter in model.parameters()),
    )

    def write() -> None:
        save_model(model, initialised_model(options))
        # Last: its presence means that the model is whole.
        write_record(path, start)

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
    return sum(map(len, encoded["input_ids"]))


def samples(continued: Mapping[str, str], arm: Arm, run: Run) -> tuple[SampleRecord, ...]:
    """Prompts as the base continued them, continued by an arm's last model."""
    if not continued:
        return ()
    model = run.load(arm.last_model)
    with run.console.step("sample"):
        after = continuations(
            model,
            load_tokenizer(str(arm.tokenizer)),
            list(continued),
            n_tokens=run.inputs.options.sample_tokens,
            ends=run.inputs.ends,
        )
    return tuple(
        SampleRecord(prompt=prompt, before=before, after=now)
        for (prompt, before), now in zip(continued.items(), after, strict=True)
    )
