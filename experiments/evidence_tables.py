"""The tables of docs/explanation/evidence.md, from what the experiments' commands wrote."""

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from experiments.flops import read_cells
from experiments.tables import markdown, mean_and_spread
from trainer.probe import PROBE_JSON, ProbeRecord
from trainer.selection.table import COMPARE_JSON, CompareRecord, sentence
from vocabopt.choice.measured import SIZES_JSON, SizesRecord, bits_at
from vocabopt.choice.measured_table import EQUAL, best_sentence
from vocabopt.errors import RunDirectoryError
from vocabopt.folder import write_bytes_atomic
from vocabopt.records import read_record
from vocabopt.tables import shown

_MARKS = "<!-- {name}: begin -->\n", "<!-- {name}: end -->"


def sizes(folder: Path, recommended: int) -> str:
    """Bits per byte by size, at equal FLOPs and at equal text, and a sentence for each.

    Args:
        recommended: added tokens that the sweep chose.
    """
    record = read_record(folder / SIZES_JSON, SizesRecord)
    parts = []
    for fit in record.fits:
        rows = [
            [
                f"{row.n_added:,}" + (" (recommended)" if row.n_added == recommended else ""),
                str(row.n_seeds),
                f"{row.reached:.4f}" + ("" if row.spread is None else f" ± {row.spread:.4f}"),
                shown(row.base, ".4f"),
                f"{row.tokens_per_byte:.4f}",
                f"{row.bytes / 1e6:.2f}",
                shown(None if row.flops is None else row.flops / 1e12, ".2f"),
            ]
            for row in record.rows_of(fit.equal)
        ]
        head = ["added", "seeds", "bits per byte", "English", "tokens per byte", "MB of text", "TFLOPs"]
        parts += [f"At {EQUAL[fit.equal]}:", markdown(head, rows), best_sentence(fit)]
        bits = bits_at(fit, record.rows, recommended)
        if bits is not None:
            where = "within noise of the best"
            if fit.within is None or not fit.within[0] <= recommended <= fit.within[1]:
                where = "not within noise of the best"
            parts.append(
                f"The recommended size, {recommended:,}, is {where}: {bits:.4f} bits per byte by the curve, "
                f"{bits - fit.best_bits:+.4f}."
            )
    return "\n\n".join(parts)


def inits(folders: Mapping[int, Path]) -> str:
    """A row for each init method: bits per byte before training and after each number of steps.

    Args:
        folders: number of steps -> folder of the probe.
    """
    found = {n_steps: read_record(folder / PROBE_JSON, ProbeRecord) for n_steps, folder in folders.items()}
    by_method = {n_steps: {row.init: row for row in record.rows} for n_steps, record in found.items()}
    first = next(iter(by_method.values()))
    rows = []
    for method, row in first.items():
        reached = [of_steps[method] for of_steps in by_method.values()]
        rows.append(
            [
                method,
                str(row.n_seeds),
                f"{row.initialised:.4f}",
                *(f"{one.reached:.4f}" + ("" if one.spread is None else f" ± {one.spread:.4f}") for one in reached),
                f"{row.seconds:.0f}",
            ]
        )
    head = [
        "init",
        "seeds",
        "before training",
        *(f"after {n} steps" for n in folders),
        f"seconds, {min(folders)} steps",
    ]
    return markdown(head, rows)


def arms(folders: Mapping[str, Path]) -> str:
    """A row for each plan in each folder of cells: bits per byte after training, and how far English moved.

    Args:
        folders: what sets the folder apart, in a word -> folder of `python -m experiments compare`.
    """
    rows = []
    for label, folder in folders.items():
        by_plan: dict[str, list[Mapping[str, float]]] = {}
        flops: dict[str, list[float]] = {}
        n_bytes: dict[str, list[float]] = {}
        before: Mapping[str, float] = {}
        for cell in read_cells(folder):
            plan, arm = cell["cell"]["plan"], cell["arms"]["adapted"]
            by_plan.setdefault(plan, []).append(arm["after"])
            flops.setdefault(plan, []).append(arm["flops"])
            n_bytes.setdefault(plan, []).append(sum(stage["bytes"] for stage in arm["stages"]))
            before = cell["before"]
        for plan, after in by_plan.items():
            target, english = ([scores[name] for scores in after] for name in ("ko", "en"))
            rows.append(
                [
                    ", ".join(filter(None, (label, plan))),
                    str(len(after)),
                    mean_and_spread(target),
                    mean_and_spread(english),
                    f"{mean(english) - before['en']:+.4f}",
                    f"{mean(n_bytes[plan]) / 1e6:.2f}",
                    f"{mean(flops[plan]) / 1e12:.2f}",
                ]
            )
    head = ["arm", "seeds", "Korean", "English", "English against the base", "MB of text", "TFLOPs"]
    return markdown(head, rows)


def filters(folder: Path) -> str:
    """A row for each part of the noisy text: bits per byte of the clean text."""
    record = read_record(folder / COMPARE_JSON, CompareRecord)
    rows = [
        [
            arm.name,
            str(len(arm.after)),
            f"{arm.n_bytes / 1e6:.1f}",
            mean_and_spread([run["clean"] for run in arm.after]),
        ]
        for arm in record.arms
    ]
    return f"{markdown(['part', 'seeds', 'MB', 'clean text'], rows)}\n\n{sentence(record)}"


def write(page: Path, name: str, table: str) -> None:
    """Put an experiment's table between its marks.

    Raises:
        RunDirectoryError: the page has no such marks.
    """
    begin, end = (mark.format(name=name) for mark in _MARKS)
    text = page.read_text(encoding="utf-8")
    new, n_found = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{table}\n\n{end}", text, count=1, flags=re.DOTALL
    )
    if not n_found:
        raise RunDirectoryError(f"{page}: holds no line {begin.strip()} with {end} behind it. Name the project's page.")
    write_bytes_atomic(page, new.encode())
