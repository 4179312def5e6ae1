"""The rules side by side in the terminal, and the sentences that belong under them."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from vocabopt.amounts import counted
from vocabopt.choice.knee import MIN_INTERVAL_FOLDS
from vocabopt.choice.options import as_command_line
from vocabopt.tabular import DASH

_NO_PAPER_AXIS = (
    "On the paper's axis, a vocabulary trained apart, the size is not known: sweep with --method union to measure it "
    "(for the model counted)."
)


def rules_table(choice: Mapping[str, Any], *, width: int = 80) -> Table:
    """A row per rule: its name (second opinions in brackets), its size, its sentence."""
    table = Table(
        title=Text(f"Rules on {choice['set']} text; the recommendation is {counted(choice['n_added'], 'added token')}"),
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1),
        width=width,
    )
    table.add_column("rule", no_wrap=True)
    table.add_column("added", justify="right", no_wrap=True)
    table.add_column("in words", overflow="fold")
    for answer in choice["rules"]:
        name = f"({answer['name']})" if answer["second_opinion"] else answer["name"]
        style = "bold" if answer["name"] == choice["rule"] else ""
        table.add_row(Text(name), Text(answered(answer)), Text(answer["sentence"]), style=style)
    return table


def answered(answer: Mapping[str, Any]) -> str:
    """The size a rule names: "18,890", ">= 40,000" where the curve does not bound it, a dash for none."""
    if answer["n_added"] is None:
        return DASH
    return f"{'>= ' if answer['bound'] == 'at_least' else ''}{answer['n_added']:,}"


def choice_notes(choice: Mapping[str, Any]) -> list[str]:
    """The interval, the windows, other sets, the paper's axis, and last the recommendation."""
    return [
        interval_sentence(choice),
        choice["window_sentence"],
        _other_sets(choice),
        choice["agreement_sentence"],
        choice["paper_axis"]["sentence"] if choice["paper_axis"] else _NO_PAPER_AXIS,
        f"Options: {as_command_line(choice['options'])}.",
        choice["reason"],
    ]


def interval_sentence(choice: Mapping[str, Any]) -> str:
    """How far other documents of the same kind would move the knee."""
    interval = choice["interval"]
    if interval is None:
        return (
            f"No interval: the curve has no knee, fewer than {MIN_INTERVAL_FOLDS} of the folds hold documents, or "
            "--resamples is 0."
        )
    without = interval["n_without_knee"]
    having = f" that have one, {interval['n_resamples'] - without:,} of" if without else ","
    return (
        f"Over resampled documents the knee lies in {interval['low']:,}..{interval['high']:,} ({interval['share']:.0%} "
        f"of the resamples{having} {interval['n_resamples']:,} of {interval['n_folds']} folds)."
    )


def _other_sets(choice: Mapping[str, Any]) -> str:
    told = [
        f"{given['set']} {DASH if given['knee'] is None else format(given['knee'], ',')}" for given in choice["sets"]
    ]
    return f"Knee by text set over the same window: {', '.join(told)}."
