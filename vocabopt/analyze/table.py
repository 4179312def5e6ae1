"""analyze.json as tables: one measure over all tokenizers first, then each tokenizer in detail."""

from collections.abc import Mapping, Sequence
from typing import Any

from vocabopt.tabular import PlainTable, shown

_DETAILS = (
    ("tokens", "n_tokens", ","),
    ("per\nword", "fertility", ".2f"),
    ("bytes\nper\ntoken", "bytes_per_token", ".2f"),
    ("chars\nper\ntoken", "chars_per_token", ".2f"),
    ("words\nwhole", "share_words_whole", ".1%"),
    ("words\ncut", "share_words_continued", ".1%"),
    ("single\nbytes", "share_fallback", ".1%"),
    ("cut\nchars", "share_cut", ".1%"),
    ("un-\nknown", "share_unknown", ".1%"),
    ("Renyi", "renyi_efficiency", ".3f"),
    ("unused", "n_unused", ","),
    ("rare", "n_rare", ","),
)


def tables(record: Mapping[str, Any]) -> list[PlainTable]:
    """Fertility side by side, parity where it was asked for, details, vocabularies, Korean."""
    tokenizers: Sequence[Mapping[str, Any]] = record["tokenizers"]
    names = list(tokenizers[0]["sets"])
    found = [side_by_side("Tokens per word", tokenizers, names, "fertility", ".2f")]
    if (aligned := record["options"]["aligned"]) is not None:
        found.append(side_by_side(f"Tokens for each one of {aligned}", tokenizers, names, "parity", ".2f"))
    found += [_details(one, names, record["options"]["n_rare"]) for one in tokenizers]
    found.append(_vocabularies(tokenizers))
    return found + _korean(tokenizers, names)


def side_by_side(
    caption: str, tokenizers: Sequence[Mapping[str, Any]], names: Sequence[str], field: str, form: str
) -> PlainTable:
    """One measure: a row per text set, a column per tokenizer."""
    return PlainTable(
        caption=caption,
        headers=("text", *(one["name"] for one in tokenizers)),
        rows=[(name, *(shown(one["sets"][name][field], form) for one in tokenizers)) for name in names],
    )


def _details(tokenizer: Mapping[str, Any], names: Sequence[str], n_rare: int) -> PlainTable:
    return PlainTable(
        caption=f"{tokenizer['name']}: {tokenizer['n_tokens']:,} tokens; rare: seen fewer than {n_rare:,} times",
        headers=("text", *(header for header, _, _ in _DETAILS)),
        rows=[(name, *(shown(tokenizer["sets"][name][field], form) for _, field, form in _DETAILS)) for name in names],
    )


def _vocabularies(tokenizers: Sequence[Mapping[str, Any]]) -> PlainTable:
    columns = (
        ("tokens", "n_tokens", ","),
        ("of them\ntext", "n_text_tokens", ","),
        ("near\nduplicates", "n_near_duplicates", ","),
        ("of 2,350\nsyllables", "n_common_syllables", ","),
        ("of 11,172\nsyllables", "n_syllables", ","),
        ("Gini over\nthe texts", "gini", ".4f"),
    )
    return PlainTable(
        caption="Vocabularies; syllables: those that are one token",
        headers=("tokenizer", *(header for header, _, _ in columns)),
        rows=[(one["name"], *(shown(one[field], form) for _, field, form in columns)) for one in tokenizers],
    )


def _korean(tokenizers: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[PlainTable]:
    rows = []
    for name in names:
        for one in tokenizers:
            korean = one["sets"][name]["korean"]
            if korean is None:
                continue
            morphemes = korean["morphemes"] or {"precision": None, "recall": None}
            rows.append(
                (
                    name,
                    one["name"],
                    shown(korean["eojeol_fertility"], ".2f"),
                    shown(morphemes["precision"], ".1%"),
                    shown(morphemes["recall"], ".1%"),
                    shown(korean["share_jamo"], ".2%"),
                    shown(korean["share_nfd"], ".2%"),
                )
            )
    headers = (
        "text", "tokenizer", "tokens\nper eojeol", "boundaries at\nmorphemes", "morphemes\nmet", "jamo", "NFD",
    )  # fmt: skip
    caption = "Korean; boundaries: of tokens inside eojeols"
    return [PlainTable(caption=caption, headers=headers, rows=rows)] if rows else []


def sentence(record: Mapping[str, Any]) -> str:
    """Which tokenizer takes the fewest tokens, over all text."""
    totals = sorted(
        (sum(measured["n_tokens"] for measured in one["sets"].values()), one["name"]) for one in record["tokenizers"]
    )
    n_sets = len(record["tokenizers"][0]["sets"])
    of = f"{n_sets} text sets" if n_sets > 1 else "this text"
    if len(totals) == 1:
        return f"{totals[0][1]} takes {totals[0][0]:,} tokens for {of}."
    (least, best), (most, worst) = totals[0], totals[-1]
    share = f", {least / most:.1%} of the {most:,} of {worst}" if most else ""
    n_unknown = {
        one["name"]: sum(measured["n_unknown"] for measured in one["sets"].values()) for one in record["tokenizers"]
    }
    cannot = ", ".join(f"{name} ({n:,} tokens)" for name, n in n_unknown.items() if n)
    unknown = f" Not all of the text can be spelled by {cannot}." if cannot else ""
    return f"Of {len(totals)} tokenizers {best} takes the fewest tokens for {of}: {least:,}{share}.{unknown}"
