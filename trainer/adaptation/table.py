"""The result of an adaptation: on a terminal, and as the model card (README.md of the finished model)."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.table import Table

from trainer.init.record import rows_told
from vocabopt.amounts import shown_bytes
from vocabopt.tables import DASH, PlainTable, shown, shown_change
from vocabopt.training_record import AdaptRecord, StageRecord


def stages_table(record: AdaptRecord, width: int) -> Table:
    """Stage by stage: what trained, on how much text, at what cost, and bits per byte after it."""
    names = list(record.texts)

    def row(label: str, scores: Mapping[str, float], stage: StageRecord | None = None) -> list[str]:
        cells = [""] * 5
        if stage is not None:
            cells = [
                f"{stage.n_trainable:,}",
                shown_bytes(stage.bytes),
                f"{stage.tokens:,}",
                f"{stage.seconds:.1f}",
                DASH if stage.peak_bytes is None else shown_bytes(stage.peak_bytes),
            ]
        return [label, *cells, *(shown(scores.get(name), ".4f") for name in names)]

    rows = [
        row("base model", record.before),
        row(f"rows by {record.init}", record.initialised),
        *(row(stage.name, stage.bits_per_byte, stage) for stage in record.stages),
    ]
    bold = frozenset((len(rows) - 1,)) if record.stages else frozenset()
    if control := record.control:
        rows += [row(f"control: {stage.name}", stage.bits_per_byte, stage) for stage in control.stages]
    return PlainTable(
        caption=f"{record.n_added:,} new tokens, plan {record.plan}; bits per byte compare across tokenizers",
        headers=(
            *("", "trainable", "text", "tokens", "seconds", "peak\nmemory"),
            *(f"bits/byte\n{name}" for name in names),
        ),
        rows=rows,
        bold=bold,
    ).for_terminal(width)


def gained(record: AdaptRecord, name: str) -> str:
    """ "2.31 -> 1.80 bits per byte (-22.1 %)" """
    before, after = record.before.get(name), record.after.get(name)
    if before is None or after is None:
        return f"{shown(before, '.3f')} -> {shown(after, '.3f')} bits per byte"
    return f"{before:.3f} -> {after:.3f} bits per byte ({shown_change(after / before - 1)})"


def notes(record: AdaptRecord) -> list[str]:
    """What the numbers say, in sentences."""
    told = [*rows_told(record.init_log)]
    for name, text in record.texts.items():
        n_before, n_after = text.n_tokens_before, text.n_tokens_after
        told.append(
            f"{name} ({text.role} language): {gained(record, name)}, {n_after / n_before:.3f} of the base's tokens."
        )
    if (control := record.control) is not None:
        for name in [name for name, text in record.texts.items() if text.role == "target"]:
            ours, theirs = record.after.get(name), control.after.get(name)
            if ours is not None and theirs is not None:
                who = "the adapted model" if ours < theirs else "the control"
                n_steps, n_control_steps = (sum(stage.n_steps for stage in arm.stages) for arm in (record, control))
                told.append(
                    f"{name}: {who} has fewer bits per byte (adapted {ours:.4f}, control with the original tokenizer "
                    f"{theirs:.4f}, same text and plan; {n_steps:,} and {n_control_steps:,} steps)."
                )
    exposure = record.exposure
    told.append(
        f"New rows seen in training: median {exposure.median:,} times, a tenth at most {exposure.p10:,} times, "
        f"{exposure.n_unseen:,} of {exposure.n_new:,} never."
    )
    told.append(f"Model: {record.out}/model")
    return told


# --- The model card ---------------------------------------------------------------------------------------------------


def model_card(record: AdaptRecord) -> str:
    """Markdown with the front matter that the Hugging Face hub reads; every number is one of adapt.json."""
    name, weights, control = Path(record.model).name, record.weights, record.control
    assert weights is not None, "the card is written after the weights"
    # What the figures are of, where the weights here are not bit for bit those that were measured.
    rounded = f"Weights are {weights.saved}."
    if weights.bits_per_byte is not None:
        found = "; ".join(f"{text} {bits:.4f}" for text, bits in weights.bits_per_byte.items())
        rounded = (
            f"The figures are of the trained weights, {weights.trained}. Those in this folder are rounded to "
            f"{weights.saved}, the type of the base. Bits per byte after rounding: {found}."
        )
    measured = _table(
        {
            "text": "---",
            "language": "---",
            "bytes": "---:",
            "tokens per byte, base": "---:",
            "here": "---:",
            "base -> here": "---",
            **({"control, original tokenizer": "---:"} if control else {}),
        },
        (
            (
                text_name,
                text.role,
                f"{text.n_bytes:,}",
                f"{text.n_tokens_before / text.n_bytes:.4f}",
                f"{text.n_tokens_after / text.n_bytes:.4f}",
                gained(record, text_name),
                *((shown(control.after.get(text_name), ".4f"),) if control else ()),
            )
            for text_name, text in record.texts.items()
        ),
    )
    numbers = (
        "trainable parameters",
        "tokens",
        "bytes",
        "seconds",
        *(f"bits per byte, {text}" for text in record.texts),
    )
    stages = _table(
        {"stage": "---", **dict.fromkeys(numbers, "---:")},
        (
            (
                stage.name,
                f"{stage.n_trainable:,}",
                f"{stage.tokens:,}",
                f"{stage.bytes:,}",
                f"{stage.seconds:.0f}",
                *(shown(stage.bits_per_byte.get(text), ".4f") for text in record.texts),
            )
            for stage in record.stages
        ),
    )
    return f"""\
---
base_model: {name}
library_name: transformers
pipeline_tag: text-generation
tags:
- vocabopt
- vocabulary-extension
- continual-pretraining
---

# {name} with {record.n_added:,} new tokens

Made by vocabopt {record.versions["vocabopt"]} from `{name}`: {_tokens_told(record)} New rows were \
initialised by `{record.init}`, then trained in stages (plan `{record.plan}`) on \
{shown_bytes(record.training_text.n_bytes)} of text.

## Measured

On documents held out of training. Bits per byte do not depend on the tokenizer; lower is better.

{measured}

{rounded}

## Training

{stages}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
```

## Limits

{_limits(record)}
"""


def _tokens_told(record: AdaptRecord) -> str:
    """What became of the tokenizer."""
    if n_reused := record.init_log.n_reused:
        return (
            f"{n_reused:,} tokens of the tokenizer gave their ids to new ones, so the model keeps its size. All other "
            "tokens keep their ids; text that was spelled with the tokens that went takes others now."
        )
    return (
        f"the tokenizer gained {record.n_added:,} tokens by real merges behind the base's own, so text of other "
        "scripts tokenises as before."
    )


def _table(headers: Mapping[str, str], rows: Iterable[Iterable[str]]) -> str:
    """headers: column -> alignment."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, headers.values(), *rows))


def _limits(record: AdaptRecord) -> str:
    exposure, ends = record.exposure, record.document_ends
    unseen = f"Of {exposure.n_new:,} new rows {exposure.n_unseen:,} were never seen in training"
    told = [f"{unseen}; the median was seen {exposure.median:,} times."]
    base = [name for name, text in record.texts.items() if text.role == "base"]
    if base:
        told.append("On base-language text: " + "; ".join(f"{name} {gained(record, name)}" for name in base) + ".")
    else:
        told.append("Forgetting of the base language was not measured.")
    if record.control is None:
        told.append(
            "No control (the original tokenizer on the same text) was trained, so what the new tokens are worth in "
            "quality is not known; what they save in tokens is above."
        )
    start, end = ("nothing" if token is None else f"`{token}`" for token in (ends.start, ends.end))
    told += record.warnings
    told.append(
        f"Documents of the training text were opened by {start} and closed by {end}; the figures use "
        "the same opening token."
    )
    told.append("The licence is that of the base model and of the training text.")
    return "\n".join(told)
