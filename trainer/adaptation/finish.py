"""OUT/model: the last stage's weights, in the base's type, with the merged tokenizer and the model card (README.md)."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from trainer.adaptation.arm import Arm, Run
from trainer.adaptation.measurements import bits_per_byte
from trainer.adaptation.record import AdaptRecord, WeightsRecord
from trainer.adaptation.table import gained
from trainer.evaluate.run import load_tokenizer
from trainer.init import dtype_of, link_model, load_model, save_model
from trainer.init.models import dtype_name
from trainer.processes import main_only
from vocabopt.amounts import shown_bytes
from vocabopt.folder import is_own, write_bytes_atomic
from vocabopt.tables import shown

_CARD = "README.md"


def is_rounded(trained: torch.dtype, base: Path) -> bool:
    """Whether weights that trained in 32 bits are finished in the 16 of their base."""
    return trained == torch.float32 and dtype_of(base) in (torch.bfloat16, torch.float16)


def finish_weights(folder: Path, base: Path, arm: Arm, run: Run) -> WeightsRecord:
    """Write the finished model, without its card.

    Weights that trained in 32 bits are rounded to the base's type where that has 16, as a base in bf16 is published and
    served; the last stage's folder keeps all bits. Files are those of the tokenizer's folder, byte for byte.

    Returns:
        For adapt.json: the types of the base, of training and of the folder; and, where weights were rounded, the bits
        per byte of what was written.
    """
    trained, of_base = getattr(torch, run.inputs.dtype), dtype_of(base)
    rounds = is_rounded(trained, base)
    files = {
        str(path.relative_to(arm.tokenizer)): path.read_bytes()
        for path in sorted(arm.tokenizer.rglob("*"))
        if path.is_file() and path.name != _CARD and not is_own(path.name)
    }

    def write() -> None:
        if rounds:
            save_model(load_model(arm.last_model, dtype=of_base), folder, files=files)
        else:
            link_model(arm.last_model, folder, files=files)

    main_only(write)
    scores = None
    if rounds:
        scores = bits_per_byte(run.scores("the rounded weights", run.load(folder), load_tokenizer(str(folder))))
    return WeightsRecord(
        base=dtype_name(of_base),
        trained=dtype_name(trained),
        saved=dtype_name(of_base if rounds else trained),
        bits_per_byte=scores,
    )


def write_card(folder: Path, record: AdaptRecord) -> None:
    """The card, with the numbers of adapt.json."""
    write_bytes_atomic(folder / _CARD, model_card(record).encode())


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

# {name} with {record.n_added:,} added tokens

Made by vocabopt {record.versions["vocabopt"]} from `{name}`: the tokenizer gained {record.n_added:,} \
tokens by real merges behind the base's own, so text of other scripts tokenises as before. New rows were \
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


def _table(headers: Mapping[str, str], rows: Iterable[Iterable[str]]) -> str:
    """headers: to which side each column leans."""
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
        f"Documents of the training text were opened by {start} and closed by {end}; figures are of documents opened "
        "so."
    )
    told.append("The licence is that of the base model and of the training text.")
    return "\n".join(told)
