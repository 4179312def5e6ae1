"""The result of an adaptation on a terminal."""

from collections.abc import Mapping

from rich.table import Table

from trainer.adaptation.record import AdaptRecord, ControlRecord, StageRecord
from vocabopt.amounts import shown_bytes
from vocabopt.tables import DASH, PlainTable, shown, shown_change


def texts_of(record: AdaptRecord) -> list[str]:
    """The evaluation texts, in the order they were given."""
    return list(record.texts)


def stages_table(record: AdaptRecord, width: int) -> Table:
    """Stage by stage: what trained, on how much text, at what cost, and bits per byte after it."""
    names = texts_of(record)
    headers = [
        "",
        "trainable",
        "text",
        "tokens",
        "seconds",
        "peak\nmemory",
        *(f"bits/byte\n{name}" for name in names),
    ]
    rows = [
        _scores_row("base model", record.before, names),
        _scores_row(f"rows by {record.init}", record.initialised, names),
        *(_stage_row(stage, names) for stage in record.stages),
    ]
    bold = frozenset((len(rows) - 1,)) if record.stages else frozenset()
    if control := record.control:
        rows += [_stage_row(stage, names, prefix="control: ") for stage in control.stages]
    caption = f"{record.n_added:,} tokens added, plan {record.plan}; bits per byte compare across tokenizers"
    return PlainTable(caption=caption, headers=headers, rows=rows, bold=bold).for_terminal(width)


def _scores_row(label: str, scores: Mapping[str, float], names: list[str]) -> list[str]:
    return [label, "", "", "", "", "", *(shown(scores.get(name), ".4f") for name in names)]


def _stage_row(stage: StageRecord, names: list[str], prefix: str = "") -> list[str]:
    return [
        prefix + stage.name,
        f"{stage.n_trainable:,}",
        shown_bytes(stage.bytes),
        f"{stage.tokens:,}",
        f"{stage.seconds:.1f}",
        DASH if stage.peak_bytes is None else shown_bytes(stage.peak_bytes),
        *(shown(stage.bits_per_byte.get(name), ".4f") for name in names),
    ]


def gained(record: AdaptRecord, name: str) -> str:
    """ "2.31 -> 1.80 bits per byte (-22.1 %)" """
    before, after = record.before.get(name), record.after.get(name)
    if before is None or after is None:
        return f"{shown(before, '.3f')} -> {shown(after, '.3f')} bits per byte"
    return f"{before:.3f} -> {after:.3f} bits per byte ({shown_change(after / before - 1)})"


def _n_steps(arm: AdaptRecord | ControlRecord) -> str:
    return f"{sum(stage.n_steps for stage in arm.stages):,}"


def notes(record: AdaptRecord) -> list[str]:
    """What the numbers say, in sentences."""
    told = []
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
                told.append(
                    f"{name}: {who} has fewer bits per byte (adapted {ours:.4f}, control with the original tokenizer "
                    f"{theirs:.4f}, same text and plan; {_n_steps(record)} and {_n_steps(control)} steps)."
                )
    exposure = record.exposure
    told.append(
        f"New rows seen in training: median {exposure.median:,} times, a tenth at most {exposure.p10:,} times, "
        f"{exposure.n_unseen:,} of {exposure.n_new:,} never."
    )
    told.append(f"Model: {record.out}/model")
    return told
