"""The tables of a sweep in the terminal, and what is to be said about them."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from rich.table import Table

from vocabopt.amounts import counted, shown_bytes
from vocabopt.choice.complexity import points_shown, ratio
from vocabopt.choice.heldout import small_heldout_sentence
from vocabopt.growth.guard import is_open
from vocabopt.tabular import DASH, terminal_table
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.union import grown_beside

# Heads break where they are told to, so that the table fits into 80 characters.
_HEADERS = (
    "added", "total\nrows", "tokens\nheld-out", "ratio_\ninput\nheld-out", "ratio_\ninput\ntrain", "ratio_\nembedding",
    "tokens\nper word", "bytes\nper token", "million\nembedding\nparams",
)  # fmt: skip
_UNION_HEADERS = (
    "vocabulary\npieces", "in the\nbase", "new\nrows", "ratio_\ninput", "grown,\nas many\nrows", "rows not\nreachable",
    "rows not\nused", "base\npieces\nbroken", "other\nlines\nchanged",
)  # fmt: skip


def sweep_table(sweep: Mapping[str, Any], *, width: int = 80) -> Table:
    """One row per size shown; the choice is in it, in bold. Sizes beyond a dry text are marked *."""
    base, model = sweep["base"], sweep["model"]
    title = f"{base['name']}: {base['n_tokens']:,} tokens"
    title += f", embedding of {model['name']}" if model else ", no model known: pass --model for parameters"
    table = _table(title, _HEADERS, width)
    choice = sweep["choice"]["n_added"]
    for point in points_shown(sweep):
        table.add_row(*_cells(point, sweep["sets"]), style="bold" if point["n_added"] == choice else "")
    return table


def _table(title: str, headers: tuple[str, ...], width: int) -> Table:
    table = terminal_table(title, width)
    for header in headers:
        table.add_column(header, justify="right", vertical="bottom", overflow="fold")
    return table


def union_table(sweep: Mapping[str, Any], curve: pl.DataFrame, *, width: int = 80) -> Table:
    """The union at each vocabulary size, with the grown tokens of as many rows beside it; the choice in bold."""
    union = sweep["union"]
    of = "trained on the training text" if union["vocab"] is None else union["vocab"]
    table = _table(f"The union with a vocabulary {of}, scores {union['scores']}", _UNION_HEADERS, width)
    text_set = shown_set(union)
    base_tokens = {name: given["n_tokens_base"] for name, given in sweep["sets"].items()}
    for point, grown in zip(union["points"], grown_beside(union, curve, base_tokens), strict=True):
        protected = point["protected"].values()
        table.add_row(
            f"{point['vocab_size']:,}",
            f"{point['n_overlap']:,}",
            f"{point['n_added']:,}",
            _number(point["sets"][text_set]["ratio_input"], ".4f"),
            _number(ratio(grown[text_set], base_tokens[text_set]) if grown else None, ".4f"),
            f"{point['n_unreachable']:,}",
            _number(point["n_unused"], ","),
            f"{point['n_base_broken']:,}",
            f"{sum(given['n_changed'] for given in protected):,}" if protected else DASH,
            style="bold" if point["vocab_size"] == union["choice"]["vocab_size"] else "",
        )
    return table


def shown_set(union: Mapping[str, Any]) -> str:
    """The text set whose ratio is shown: held-out text where there is some."""
    return HELDOUT if union["points"][0]["sets"][HELDOUT]["n_tokens"] else TRAIN


def union_notes(sweep: Mapping[str, Any]) -> list[str]:
    """Sentences that belong under the table of the union."""
    protected = sweep["union"]["points"][0]["protected"]
    if not protected:
        return [
            "No text was protected, so what the union changes in other text is not known: name some with --protect."
        ]
    names = ", ".join(f"{given['n_documents']:,} of {name}" for name, given in protected.items())
    return [f"Lines changed are among those without the target script: {names}. The grown tokens change none."]


def sweep_notes(sweep: Mapping[str, Any]) -> list[str]:
    """Sentences that belong under the table."""
    notes = []
    if sweep["exhausted_at"] is not None:
        note = f"The text ran dry at {counted(sweep['exhausted_at'], 'added token')}"
        is_marked = any(point["dry"] for point in points_shown(sweep))
        notes.append(f"{note}; larger sizes are marked * and repeat it." if is_marked else f"{note}.")
    if sweep["n_blocked"]:
        notes.append(_blocked(sweep["n_blocked"]))
    lost = {name: stats.get("n_lost_chars", 0) for name, stats in sweep["sets"].items()}
    if any(lost.values()):
        listed = ", ".join(f"{name} {n:,}" for name, n in lost.items() if n)
        notes.append(
            f"Characters that the base has no token for: {listed}. They are left out or become its unknown token, and "
            "decoding does not bring them back; no token is learned from words that hold them."
        )
    guard = sweep.get("guard")
    if guard is not None and is_open(guard):
        # Before the growth it was told at length.
        notes.append("Warning: nothing guards other text; name text that must stay with --protect.")
    if (told := small_heldout_sentence(sweep)) is not None:
        notes.append(told)
    if sweep.get("proof"):
        notes.append(proof_note(sweep["proof"]))
    return notes


def _blocked(n: int) -> str:
    return f"{counted(n, 'candidate')} {'was' if n == 1 else 'were'} left out: protected text would have changed."


def proof_note(proof: Mapping[str, Any]) -> str:
    """What was proved on whole documents (`document_proof.DocumentProof`)."""
    of_text = "all text of the run"
    if not proof["is_all"]:
        held, features = proof["n_features_held"], proof["n_features"]
        of_text = (
            f"with {'each' if held == features else f'{held:,}'} of {features:,} characters, runs of white space and "
        )
        of_text += "added tokens of the text"
    return (
        f"Counts are those of tokenizer.json on {proved_documents(proof)}, one by one "
        f"({shown_bytes(proof['n_bytes'])}, {of_text})."
    )


def proved_documents(proof: Mapping[str, Any]) -> str:
    """How many whole documents, each counted once, and how many parts of longer ones."""
    n_excerpts = proof["n_excerpts"]
    # Runs of earlier versions store the sum of both alone.
    whole = counted(proof["n_documents"] - n_excerpts, "distinct document")
    return f"{whole} and {counted(n_excerpts, 'part')} of longer ones" if n_excerpts else whole


def _cells(point: Mapping[str, Any], sets: Mapping[str, Any]) -> list[str]:
    heldout, train = point["sets"]["heldout"], point["sets"]["train"]
    # Words and bytes are of the held-out text, or of the training text where nothing was held out.
    shown = "heldout" if heldout["n_tokens"] else "train"
    n_tokens, stats = point["sets"][shown]["n_tokens"], sets[shown]
    n_params = point["n_embedding_params"]
    return [
        f"{point['n_added']:,}{'*' if point['dry'] else ''}",
        f"{point['n_rows_total']:,}",
        _number(heldout["n_tokens"] or None, ","),
        _number(heldout["ratio_input"], ".4f"),
        _number(train["ratio_input"], ".4f"),
        _number(point["ratio_embedding"], ".3f"),
        _number(n_tokens / stats["n_words"] if stats["n_words"] else None, ".3f"),
        _number(stats["n_bytes"] / n_tokens if n_tokens else None, ".3f"),
        _number(None if n_params is None else n_params / 1e6, ",.1f"),
    ]


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)
