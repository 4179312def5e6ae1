"""Tables of a comparison, as Markdown: means over seeds and their standard deviation."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

Cells = Sequence[Mapping[str, Any]]


def comparison_table(cells: Cells) -> str:
    """A row for every arm: bits per byte before, after every stage and at the end, tokens, seconds, peak memory."""
    if not cells:
        return "No cells."
    names = list(cells[0]["texts"])
    groups = _groups(cells)
    head = [
        "arm",
        "seeds",
        *(f"{name}, after" for name in names),
        "MB of text",
        "tokens",
        "steps",
        "PFLOPs",
        "seconds",
        "peak MB",
    ]
    adapted = [cell for cell in cells if cell["cell"]["kind"] != "scratch"] or cells
    rows = [
        ["base model", "", *(mean_and_spread([cell["before"][name] for cell in adapted]) for name in names), *[""] * 6]
    ]
    for init in dict.fromkeys(cell["cell"]["init"] for cell in cells):
        of_init = [
            cell["initialised"] for cell in cells if cell["cell"]["init"] == init and cell["cell"]["kind"] != "scratch"
        ]
        if of_init:
            scores = [mean_and_spread([given[name] for given in of_init]) for name in names]
            rows.append([f"rows by {init}, untrained", "", *scores, *[""] * 6])
    for label, arms in groups.items():
        rows.append(_arm_row(label, arms, names))
    stage_rows = [row for label, arms in groups.items() for row in _stage_rows(label, arms, names)]
    stage_head = ["arm", "stage", "trainable", *(f"{name}, after" for name in names), "peak MB"]
    return f"{markdown(head, rows)}\n\n{markdown(stage_head, stage_rows)}"


def _groups(cells: Cells) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        told = cell["cell"]
        for kind, arm in cell["arms"].items():
            label = {
                "adapted": f"{told['plan']}, {told['init']}",
                "control": f"control (original tokenizer), {told['plan']}",
                "scratch": "from scratch, merged tokenizer, full",
            }[kind]
            groups.setdefault(label, []).append(arm)
    return groups


def _arm_row(label: str, arms: list[Mapping[str, Any]], names: list[str]) -> list[str]:
    def total(field: str) -> list[float]:
        return [sum(stage[field] for stage in arm["stages"]) for arm in arms]

    peaks = [max(stage["peak_bytes"] or 0 for stage in arm["stages"]) / 1e6 for arm in arms]
    return [
        label,
        str(len(arms)),
        *(mean_and_spread([arm["after"][name] for arm in arms]) for name in names),
        f"{mean(total('bytes')) / 1e6:.2f}",
        f"{mean(total('tokens')):,.0f}",
        f"{mean(total('n_steps')):,.0f}",
        f"{mean(arm['flops'] for arm in arms) / 1e15:.4f}",
        f"{mean(total('seconds')):.0f}",
        f"{max(peaks):.0f}",
    ]


def _stage_rows(label: str, arms: list[Mapping[str, Any]], names: list[str]) -> list[list[str]]:
    rows = []
    for number, stage in enumerate(arms[0]["stages"]):
        of_stage = [arm["stages"][number] for arm in arms]
        scores = [mean_and_spread([given["bits_per_byte"][name] for given in of_stage]) for name in names]
        peak = max(given["peak_bytes"] or 0 for given in of_stage) / 1e6
        rows.append([label, stage["name"], f"{stage['n_trainable']:,}", *scores, f"{peak:.0f}"])
    return rows


def mean_and_spread(values: Sequence[float]) -> str:
    """Of a number, over seeds."""
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 and stdev(values) else "")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: its first column is words, the others are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
