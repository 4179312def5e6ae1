"""The terminal's tables of an analysis. Each fits 80 characters with names of up to ten; longer names are folded."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vocabopt.analysis.measure import best
from vocabopt.report.text import fixed, percent, plain
from vocabopt.tables import DASH

_WIDE = 100  # characters from which on there is room for wider gaps
_NAME_LIMIT = 60
#: Tokenizers beside each other in one table.
_N_BESIDE = 5


def all_tables(record: Mapping[str, Any], *, width: int = 80) -> list[RenderableType]:
    """Everything that a person reads of an analysis, in order."""
    tokenizers = record["tokenizers"]
    tables: list[RenderableType] = [_sets_table(record, width)]
    if len(tokenizers) > 1:
        groups = [tokenizers[first : first + _N_BESIDE] for first in range(0, len(tokenizers), _N_BESIDE)]
        tables += [_fertility_table(record["sets"], group, width) for group in groups]
    tables += [_tokenizer_table(record, tokenizer, width) for tokenizer in tokenizers]
    tables.append(_vocabulary_table(record, width))
    if any(text["is_korean"] for text in record["sets"].values()):
        tables.append(_korean_table(record, width))
    return tables


def notes(record: Mapping[str, Any]) -> list[str]:
    """Sentences that belong under the tables."""
    rare = record["options"]["rare"]
    words = (
        "whole, cont.: words of one token, of several. bytes: tokens that spell what has no token. cut: tokens that "
        f"begin or end inside a character. Renyi: efficiency at alpha {record['renyi_alpha']}."
    )
    tokens = (
        f"unused, rare: tokens of the vocabulary that no text gives, or gives fewer than {rare} times. alike: equal to "
        "another apart from a leading space, case or Unicode normalisation."
    )
    said = [words, tokens]
    if record["options"]["parity"] is not None:
        said.append(f"parity: tokens for each token of {plain(record['options']['parity'])}.")
    return [*said, *(plain(note, 2_000) for note in record["notes"])]


def _table(title: str, headers: Sequence[str], width: int, *, n_names: int = 1) -> tuple[Table, Group]:
    """A table to fill, and the same under its title, which may be wider than the table."""
    table = Table(
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1 if width >= _WIDE else 0),
    )
    for column, header in enumerate(headers):
        table.add_column(
            Text(header), justify="left" if column < n_names else "right", vertical="bottom", overflow="fold"
        )
    return table, Group(Text(title), table)


def _sets_table(record: Mapping[str, Any], width: int) -> RenderableType:
    is_korean = any(text["is_korean"] for text in record["sets"].values())
    headers = ["set", "documents", "words", "characters", "bytes", *(["jamo %", "NFD %"] if is_korean else [])]
    table, titled = _table("Text", headers, width)
    for name, text in record["sets"].items():
        cells = [text["n_documents"], text["n_words"], text["n_chars"], text["n_bytes"]]
        shares = [_percent(text["share_jamo"]), _percent(text["share_nfd"])] if is_korean else []
        table.add_row(_name(name), *map(_count, cells), *shares)
    return titled


def _fertility_table(sets: Mapping[str, Any], tokenizers: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    headers = ["set", *(plain(tokenizer["name"], _NAME_LIMIT) for tokenizer in tokenizers)]
    table, titled = _table("Tokens per word; the fewest in bold", headers, width)
    for name in sets:
        values = [tokenizer["sets"][name]["tokens_per_word"] for tokenizer in tokenizers]
        fewest = best(tokenizers, name, "tokens_per_word", is_smallest=True)
        cells = [Text(_fixed(value), style="bold" if value is not None and value == fewest else "") for value in values]
        table.add_row(_name(name), *cells)
    return titled


def _tokenizer_table(record: Mapping[str, Any], tokenizer: Mapping[str, Any], width: int) -> RenderableType:
    has_parity = record["options"]["parity"] is not None
    has_unknown = any(counts["n_unknown_tokens"] for counts in tokenizer["sets"].values())
    headers = [
        "set",
        "tokens",
        "tokens\n/word",
        "bytes\n/token",
        "chars\n/token",
        "whole\n%",
        "cont.\n%",
        "bytes\n%",
        "cut\n%",
    ]
    headers += ["unkn.\n%"] if has_unknown else []
    headers += ["Renyi", *(["parity"] if has_parity else [])]
    title = f"{plain(tokenizer['name'], _NAME_LIMIT)}: {tokenizer['n_tokens']:,} tokens, {tokenizer['family']}"
    table, titled = _table(title, headers, width)
    for name, counts in tokenizer["sets"].items():
        table.add_row(
            _name(name),
            _count(counts["n_tokens"]),
            *(_fixed(counts[key]) for key in ("tokens_per_word", "bytes_per_token", "chars_per_token")),
            *(
                _percent(counts[f"share_{key}"])
                for key in ("words_whole", "words_continued", "byte_tokens", "cut_tokens")
            ),
            *([_percent(counts["share_unknown_tokens"])] if has_unknown else []),
            _fixed(counts["renyi_efficiency"]),
            *([_fixed(counts["parity"])] if has_parity else []),
        )
    return titled


def _vocabulary_table(record: Mapping[str, Any], width: int) -> RenderableType:
    headers = ["tokenizer", "tokens", "unused", "rare", "alike", "Gini\nper byte", "Gini per\ndocument"]
    is_korean = any(tokenizer["syllables"] for tokenizer in record["tokenizers"])
    headers += ["of 2,350\nsyllables", "of 11,172\nsyllables"] if is_korean else []
    table, titled = _table("Vocabularies, and how evenly they cost over the sets", headers, width)
    for tokenizer in record["tokenizers"]:
        syllables = tokenizer["syllables"] or {}
        table.add_row(
            _name(tokenizer["name"]),
            *(_count(tokenizer[key]) for key in ("n_tokens", "n_unused", "n_rare")),
            _count(tokenizer["near_duplicates"]["n_near_duplicates"]),
            _fixed(tokenizer["gini_tokens_per_byte"]),
            _fixed(tokenizer["gini_tokens_per_document"]),
            *([_count(syllables.get(key)) for key in ("n_common_whole", "n_modern_whole")] if is_korean else []),
        )
    return titled


def _korean_table(record: Mapping[str, Any], width: int) -> RenderableType:
    headers = ["set", "tokenizer", "tokens\n/eojeol", "documents\nsampled", "token boundaries\nat morphemes' %",
               "morpheme boundaries\nat tokens' %"]  # fmt: skip
    table, titled = _table("Korean: eojeols and morphemes", headers, width, n_names=2)
    for name, text in record["sets"].items():
        for tokenizer in record["tokenizers"] if text["is_korean"] else ():
            counts = tokenizer["sets"][name]
            met = counts["morphemes"] or {}
            table.add_row(
                _name(name),
                _name(tokenizer["name"]),
                _fixed(counts["tokens_per_eojeol"]),
                _count(met.get("n_documents")),
                _percent(met.get("share_token_boundaries_met")),
                _percent(met.get("share_morpheme_boundaries_met")),
            )
    return titled


def _name(name: str) -> Text:
    return Text(plain(name, _NAME_LIMIT))


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _fixed(value: float | None) -> str:
    return DASH if value is None else fixed(value)


def _percent(value: float | None) -> str:
    """A share in percent, without the sign, which the head bears."""
    return DASH if value is None else percent(value).removesuffix(" %")
