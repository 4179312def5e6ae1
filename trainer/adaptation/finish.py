"""OUT/model: the last stage's weights, in the base's type, with the merged tokenizer and the model card (README.md)."""

from pathlib import Path

import torch

from trainer.adaptation.arm import Arm, ArmRun
from trainer.adaptation.measurements import bits_per_byte
from trainer.adaptation.record import AdaptRecord, WeightsRecord
from trainer.adaptation.table import gained, texts_of
from trainer.evaluate.run import load_tokenizer
from trainer.init import dtype_of, link_model, load_model, save_model
from trainer.processes import main_only
from vocabopt.amounts import shown_bytes
from vocabopt.folder import is_own, write_bytes_atomic
from vocabopt.tables import shown

_CARD = "README.md"
_IN_16_BITS = (torch.bfloat16, torch.float16)


def is_rounded(trained: torch.dtype, base: Path) -> bool:
    """Whether weights that trained in 32 bits are finished in the 16 of their base."""
    return trained == torch.float32 and dtype_of(base) in _IN_16_BITS


def finish_weights(folder: Path, base: Path, arm: Arm, run: ArmRun) -> WeightsRecord:
    """Write the finished model, without its card.

    Weights that trained in 32 bits are rounded to the base's type where that has 16, as a base in bf16 is published and
    served; the last stage's folder keeps all bits. Files are those of the tokenizer's folder, byte for byte.

    Returns:
        For adapt.json: the types of the base, of training and of the folder; and, where weights were rounded, the bits
        per byte of what was written.
    """
    trained, of_base = getattr(torch, run.dtype), dtype_of(base)
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
    saved = of_base if rounds else trained
    return WeightsRecord(base=_name(of_base), trained=_name(trained), saved=_name(saved), bits_per_byte=scores)


def write_card(folder: Path, record: AdaptRecord) -> None:
    """The card, with the numbers of adapt.json."""
    write_bytes_atomic(folder / _CARD, model_card(record).encode())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def model_card(record: AdaptRecord) -> str:
    """Markdown with the front matter that the Hugging Face hub reads; every number is one of adapt.json."""
    name = Path(record.model).name
    return "\n".join(
        [
            *_front_matter(name),
            f"# {name} with {record.n_added:,} added tokens",
            "",
            _how(record, name),
            "",
            *_results(record),
            *_stages(record),
            *_use(),
            "## Limits",
            "",
            *_limits(record),
            "",
        ]
    )


def _how(record: AdaptRecord, name: str) -> str:
    return (
        f"Made by vocabopt {record.versions['vocabopt']} from `{name}`: the tokenizer gained {record.n_added:,} "
        "tokens by real merges behind the base's own, so text of other scripts tokenises as before. New rows were "
        f"initialised by `{record.init}`, then trained in stages (plan `{record.plan}`) on "
        f"{shown_bytes(record.training_text['n_bytes'])} of text."
    )


def _front_matter(name: str) -> list[str]:
    return ["---", f"base_model: {name}", "library_name: transformers", "pipeline_tag: text-generation", "tags:",
            "- vocabopt", "- vocabulary-extension", "- continual-pretraining", "---", ""]  # fmt: skip


def _results(record: AdaptRecord) -> list[str]:
    rows = [
        f"| {name} | {text.role} | {text.n_bytes:,} | {text.n_tokens_before / text.n_bytes:.4f} | "
        f"{text.n_tokens_after / text.n_bytes:.4f} | {gained(record, name)} |"
        + (f" {shown(record.control.after.get(name), '.4f')} |" if record.control else "")
        for name, text in record.texts.items()
    ]
    control = ("control, original tokenizer | ", "---: |") if record.control else ("", "")
    return [
        "## Measured",
        "",
        "On documents held out of training. Bits per byte do not depend on the tokenizer; lower is better.",
        "",
        f"| text | language | bytes | tokens per byte, base | here | base -> here | {control[0]}",
        f"| --- | --- | ---: | ---: | ---: | --- | {control[1]}",
        *rows,
        "",
        *_rounded(record),
    ]


def _rounded(record: AdaptRecord) -> list[str]:
    """What the figures are of, where the weights here are not bit for bit those that were measured."""
    weights = record.weights
    assert weights is not None, "the card is written after the weights"
    if weights.bits_per_byte is None:
        return [f"Weights are {weights.saved}.", ""]
    found = "; ".join(f"{name} {bits:.4f}" for name, bits in weights.bits_per_byte.items())
    told = (
        f"The figures are of the trained weights, {weights.trained}. Those in this folder are rounded to "
        f"{weights.saved}, the type of the base. Bits per byte after rounding: {found}."
    )
    return [told, ""]


def _stages(record: AdaptRecord) -> list[str]:
    names = texts_of(record)
    rows = [
        f"| {stage.name} | {stage.n_trainable:,} | {stage.tokens:,} | {stage.bytes:,} | "
        f"{stage.seconds:.0f} | " + " | ".join(shown(stage.bits_per_byte.get(name), ".4f") for name in names) + " |"
        for stage in record.stages
    ]
    return [
        "## Training",
        "",
        "| stage | trainable parameters | tokens | bytes | seconds | "
        + " | ".join(f"bits per byte, {name}" for name in names)
        + " |",
        "| --- | ---: | ---: | ---: | ---: |" + " ---: |" * len(names),
        *rows,
        "",
    ]


def _use() -> list[str]:
    return [
        "## Use",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
        'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")',
        "```",
        "",
    ]


def _limits(record: AdaptRecord) -> list[str]:
    exposure = record.exposure
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
    told += record.warnings
    ends = record.document_ends
    told.append(
        f"Documents of the training text were opened by {_code(ends.start)} and closed by {_code(ends.end)}; "
        "figures are of documents opened so."
    )
    told.append("The licence is that of the base model and of the training text.")
    return told


def _code(token: str | None) -> str:
    return "nothing" if token is None else f"`{token}`"
