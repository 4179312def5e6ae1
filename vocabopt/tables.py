"""Tables that a terminal and a page show alike, and the tables of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vocabopt.amounts import counted, shown_bytes
from vocabopt.text.sets import HELDOUT, TRAIN

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from vocabopt.estimation import Estimate
    from vocabopt.records import SweepRecord, Targets, TermCut, TermsRecord, UnionRecord

#: What is not known or not defined.
DASH = "-"
_WIDE = 100  # characters from which on there is room for wider gaps


def shown(value: float | None, form: str) -> str:
    """A number in a format, a dash for none."""
    return DASH if value is None else format(value, form)


def shown_change(share: float | None) -> str:
    """A change as a share of what was before: "-22.1%", "+0.3%"; "0.0%" where it is less than that shows."""
    change = shown(share, "+z.1%")
    return change.removeprefix("+") if change == "+0.0%" else change


def listed(values: Mapping[str, Any]) -> str:
    """Options or versions on one line: "seed 0, model -"."""

    def value(given: Any) -> str:
        if isinstance(given, list | tuple):
            return ":".join(str(part) for part in given)
        return DASH if given is None else str(given)

    return ", ".join(f"{name} {value(given)}" for name, given in values.items())


# --- Tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PlainTable:
    """A table that a terminal and a page show alike: cells are finished text, the first column names the row.

    headers: a line break where they may break; the first is that of the rows' names. bold: rows to stand out.
    """

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[int] = frozenset()

    def for_terminal(self, width: int) -> "Table":
        from rich.text import Text

        table = terminal_table(self.caption, width)
        table.min_width = min(width, len(self.caption))
        for number, header in enumerate(self.headers):
            table.add_column(Text(header), justify="right" if number else "left", vertical="bottom", overflow="fold")
        for number, row in enumerate(self.rows):
            table.add_row(*(Text(cell) for cell in row), style="bold" if number in self.bold else "")
        return table


def terminal_table(title: str, width: int) -> "Table":
    """An empty table in the look of all of them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(
        title=Text(title),
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1 if width >= _WIDE else 0),
    )


# --- The tables of a sweep --------------------------------------------------------------------------------------------

# Heads break where they are told to, so that the table fits into 80 characters.
_HEADERS = (
    "added", "total\nrows", "tokens\nheld-out", "ratio_\ninput\nheld-out", "ratio_\ninput\ntrain", "ratio_\nembedding",
    "tokens\nper word", "bytes\nper token", "million\nembedding\nparams",
)  # fmt: skip
_UNION_HEADERS = (
    "vocabulary\npieces", "in the\nbase", "new\nrows", "ratio_\ninput", "grown,\nas many\nrows", "rows not\nreachable",
    "rows not\nused", "base\npieces\nbroken", "other\nlines\nchanged",
)  # fmt: skip


def sweep_table(sweep: "SweepRecord", *, width: int = 80) -> "Table":
    """One row per size shown; the choice is in it, in bold. Sizes beyond a dry text are marked *."""
    title = f"{sweep.base.name}: {sweep.base.n_tokens:,} tokens"
    title += f", embedding of {sweep.model.name}" if sweep.model else ", no model known: pass --model for parameters"
    table = _right_table(title, _HEADERS, width)
    for point in sweep.points_shown:
        heldout, train = point.sets[HELDOUT].n_tokens, point.sets[TRAIN].n_tokens
        # Words and bytes are of the held-out text, or of the training text where nothing was held out.
        stats, n_tokens = (sweep.sets[HELDOUT], heldout) if heldout else (sweep.sets[TRAIN], train)
        n_params = point.n_embedding_params
        table.add_row(
            f"{point.n_added:,}{'*' if point.dry else ''}",
            f"{point.n_rows_total:,}",
            shown(heldout or None, ","),
            shown(sweep.sets[HELDOUT].ratio_input(heldout), ".4f"),
            shown(sweep.sets[TRAIN].ratio_input(train), ".4f"),
            shown(sweep.base.ratio_embedding(point.n_rows_total), ".3f"),
            shown(n_tokens / stats.n_words if stats.n_words else None, ".3f"),
            shown(stats.n_bytes / n_tokens if n_tokens else None, ".3f"),
            shown(None if n_params is None else n_params / 1e6, ",.1f"),
            style="bold" if point.n_added == sweep.choice.n_added else "",
        )
    return table


#: Terms that a terminal shows; the page and terms.json have all.
N_TERMS_SHOWN = 40


def terms_table(found: "TermsRecord", width: int) -> "Table":
    """Tokens of each term after a space at some sizes, the first and the last among them; when it becomes one."""
    n = len(found.sizes)
    chosen = sorted({round(i * (n - 1) / 4) for i in range(5)}) if n else []
    headers = ["term", *(f"at\n{found.sizes[i]:,}" for i in chosen), "one token\nafter a space", "one token\nalone"]
    rows = [
        (
            term.term,
            *(f"{len(term.after_space.pieces[i])}" for i in chosen),
            shown_size(term.after_space),
            shown_size(term.alone),
        )
        for term in found.terms[:N_TERMS_SHOWN]
    ]
    caption = "Terms: tokens after a space at each number of added tokens, and from which number on one token"
    return PlainTable(caption=caption, headers=headers, rows=rows).for_terminal(width)


def shown_size(cut: "TermCut") -> str:
    """From which size on a term is one token, or why it is none."""
    if cut.one_token_at is not None:
        return f"{cut.one_token_at:,}" if cut.one_token_at else "base"
    return "not reached" if cut.n_chunks == 1 else f"never: {cut.n_chunks} chunks"


def targets_table(sweep: "SweepRecord", targets: "Targets", *, width: int = 80) -> "Table":
    """What each target has left of its tokens at each size, worst over best, and its aligned text against that of the
    reference."""
    headers = [f"{name}\nratio_\ninput" for name in targets.names] + ["worst\nover\nbest"]
    if targets.parity is not None:
        headers += [f"{name}\nper token\nof {targets.parity}" for name in targets.names]
    table = _right_table("Each target on text of its own", ("added", *headers), width)
    for point in sweep.points_shown:
        ratios = targets.ratios(sweep.sets, point)
        cells = [*ratios.values(), targets.spread(ratios), *targets.parities(point).values()]
        table.add_row(
            f"{point.n_added:,}{'*' if point.dry else ''}",
            *(format(cell, ".4f") for cell in cells),
            style="bold" if point.n_added == sweep.choice.n_added else "",
        )
    return table


def estimate_table(found: "Estimate", width: int) -> "Table":
    """What a sweep is expected to take, step by step."""
    from vocabopt.report.text import duration

    caption = (
        f"Expected from {shown_bytes(found.n_bytes_sample)} of {shown_bytes(found.n_bytes)} of text, "
        f"with {found.n_workers} process{'' if found.n_workers == 1 else 'es'}"
    )
    steps = {
        "load": "load the base",
        "read": "read all text, to learn from it",
        "learn": "learn tokens",
        "count": "count all text with them",
        "report": "choose and draw",
    }
    rows = [(steps[name], duration(seconds)) for name, seconds in found.seconds.items()]
    rows += [
        ("in all", duration(found.total_seconds)),
        ("memory to learn from all text", shown_bytes(found.n_bytes_to_learn_all)),
        ("memory to use", shown_bytes(found.memory_bytes)),
        ("text that tokens are learned from", f"{found.share_learned:.1%}"),
        ("counting, per process", f"{shown_bytes(found.bytes_per_second)}/s"),
        *(("not included", what) for what in found.left_out),
    ]
    return PlainTable(caption=caption, headers=("", "expected"), rows=rows).for_terminal(width)


def union_table(sweep: "SweepRecord", union: "UnionRecord", curve: "pl.DataFrame", *, width: int = 80) -> "Table":
    """The union at each vocabulary size, with the grown tokens of as many rows beside it; the choice in bold."""
    of = "trained on the training text" if union.vocab is None else union.vocab
    table = _right_table(f"The union with a vocabulary {of}, scores {union.scores}", _UNION_HEADERS, width)
    # Held-out text where there is some.
    name = HELDOUT if union.points[0].sets[HELDOUT].n_tokens else TRAIN
    ratio_input, n_tokens = sweep.sets[name].ratio_input, [sweep.sets[name].n_tokens_base, *curve[f"n_tokens_{name}"]]
    for point in union.points:
        grown = ratio_input(n_tokens[point.n_added]) if point.n_added < len(n_tokens) else None
        table.add_row(
            f"{point.vocab_size:,}",
            f"{point.n_overlap:,}",
            f"{point.n_added:,}",
            shown(ratio_input(point.sets[name].n_tokens), ".4f"),
            shown(grown, ".4f"),
            f"{point.n_unreachable:,}",
            shown(point.n_unused, ","),
            f"{point.n_base_broken:,}",
            shown(point.n_changed, ","),
            style="bold" if point.vocab_size == union.choice.vocab_size else "",
        )
    return table


def rules_table(sweep: "SweepRecord", *, width: int = 80) -> "Table":
    """A row per rule: its name (second opinions in brackets), its size, its sentence."""
    from rich.text import Text

    from vocabopt.wording import answered, rule_sentence

    choice = sweep.choice
    title = f"Rules on {choice.set} text; the recommendation is {counted(choice.n_added, 'added token')}"
    table = terminal_table(title, _WIDE)
    table.width = width
    table.add_column("rule", no_wrap=True)
    table.add_column("added", justify="right", no_wrap=True)
    table.add_column("in words", overflow="fold")
    for answer in choice.rules:
        name = f"({answer.name})" if answer.second_opinion else answer.name
        style = "bold" if answer.name == choice.rule else ""
        table.add_row(Text(name), Text(answered(answer)), Text(rule_sentence(sweep, answer)), style=style)
    return table


def _right_table(title: str, headers: tuple[str, ...], width: int) -> "Table":
    table = terminal_table(title, width)
    for header in headers:
        table.add_column(header, justify="right", vertical="bottom", overflow="fold")
    return table
