"""The terminal's tables of an analysis. Each fits 80 characters with names of up to ten; longer names are folded."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from vocabopt.analysis.measure import best, loses_text
from vocabopt.analysis.record import AnalyzeRecord, TokenizerNumbers
from vocabopt.analysis.words import HOW_TO_INSTALL
from vocabopt.report.text import fixed, percent, plain
from vocabopt.tables import DASH, shown, terminal_table

_NAME_LIMIT = 60
#: Tokenizers beside each other in one table.
_N_BESIDE = 5


def all_tables(record: AnalyzeRecord, *, width: int = 80) -> list[RenderableType]:
    """Everything that a person reads of an analysis, in order."""
    tokenizers = record.tokenizers
    tables = [_sets_table(record, width)]
    if len(tokenizers) > 1:
        for first in range(0, len(tokenizers), _N_BESIDE):
            tables.append(_fertility_table(record, tokenizers[first : first + _N_BESIDE], width))
    for first in range(0, len(tokenizers), _N_BESIDE):
        tables.append(_floor_table(record, tokenizers[first : first + _N_BESIDE], width))
    tables += [_tokenizer_table(record, tokenizer, width) for tokenizer in tokenizers]
    tables.append(_vocabulary_table(record, width))
    return [*tables, _korean_table(record, width)] if record.is_korean else tables


def notes(record: AnalyzeRecord) -> list[str]:
    """Sentences that belong under the tables."""
    words = (
        "whole, cont.: words of one token, of several. bytes: tokens that spell what has no token. cut: tokens that "
        f"begin or end inside a character. Renyi: efficiency at alpha {record.renyi_alpha}."
    )
    tokens = (
        f"unused, rare: tokens of the vocabulary that no text gives, or gives fewer than {record.options['rare']} "
        "times. alike: equal to another apart from a leading space, case or Unicode normalisation."
    )
    said = [words, tokens]
    if record.options["parity"] is not None:
        said.append(f"parity: tokens for each token of {plain(record.options['parity'])}.")
    return [*said, *(plain(note, 2_000) for note in warnings(record))]


def warnings(record: AnalyzeRecord) -> list[str]:
    """What is missing for want of a library, and a sentence for each tokenizer that loses text."""
    korean = [name for name, text in record.sets.items() if text.is_korean]
    asked = record.options["morpheme_documents"]
    lacks = asked and any(given.sets[name].morphemes is None for given in record.tokenizers for name in korean)
    said = [HOW_TO_INSTALL] if lacks else []
    for given in record.tokenizers:
        lost = {name: counts.share_unknown_tokens or 0 for name, counts in given.sets.items() if loses_text(counts)}
        if lost:
            shares = ", ".join(f"{100 * share:.1f} % on {name}" for name, share in lost.items())
            said.append(
                f"{given.name} cannot spell all text. Of its tokens are unknown ones: {shares}. Such text is lost, so "
                "few tokens there are no merit, and are never shown as the best."
            )
    return said


def _table(
    title: str, headers: Iterable[str], rows: Iterable[Sequence[str | Text]], width: int, *, n_names: int = 1
) -> RenderableType:
    """A table under its title, which may be wider than the table; the first `n_names` columns are names."""
    table = terminal_table("", width)
    for column, header in enumerate(headers):
        table.add_column(
            Text(header), justify="left" if column < n_names else "right", vertical="bottom", overflow="fold"
        )
    for row in rows:
        names = [Text(plain(name, _NAME_LIMIT)) for name in row[:n_names]]
        table.add_row(*names, *(Text(cell) if isinstance(cell, str) else cell for cell in row[n_names:]))
    return Group(Text(title), table)


def _sets_table(record: AnalyzeRecord, width: int) -> RenderableType:
    headers = ["set", "documents", "words", "characters", "bytes", *(["jamo %", "NFD %"] if record.is_korean else [])]
    rows = []
    for name, text in record.sets.items():
        shares = [_percent(text.share_jamo), _percent(text.share_nfd)] if record.is_korean else []
        counts = (text.n_documents, text.n_words, text.n_chars, text.n_bytes)
        rows.append([name, *map(_count, counts), *shares])
    return _table("Text", headers, rows, width)


def _fertility_table(record: AnalyzeRecord, tokenizers: Sequence[TokenizerNumbers], width: int) -> RenderableType:
    rows: list[Sequence[str | Text]] = []
    for name in record.sets:
        values = [tokenizer.sets[name].tokens_per_word for tokenizer in tokenizers]
        fewest = best(tokenizers, name, "tokens_per_word", is_smallest=True)
        is_fewest = [value is not None and value == fewest for value in values]
        cells = [Text(_fixed(n), "bold" if least else "") for n, least in zip(values, is_fewest, strict=True)]
        rows.append([name, *cells])
    headers = ["set", *(plain(tokenizer.name, _NAME_LIMIT) for tokenizer in tokenizers)]
    return _table("Tokens per word; the fewest in bold", headers, rows, width)


def _floor_table(record: AnalyzeRecord, tokenizers: Sequence[TokenizerNumbers], width: int) -> RenderableType:
    rows = [[name, *(_fixed(tokenizer.sets[name].chunks_per_word) for tokenizer in tokenizers)] for name in record.sets]
    headers = ["set", *(plain(tokenizer.name, _NAME_LIMIT) for tokenizer in tokenizers)]
    return _table("Chunks per word, which no token crosses: no vocabulary has fewer tokens", headers, rows, width)


def _tokenizer_table(record: AnalyzeRecord, tokenizer: TokenizerNumbers, width: int) -> RenderableType:
    has_parity = record.options["parity"] is not None
    has_unknown = any(counts.n_unknown_tokens for counts in tokenizer.sets.values())
    headers = ["set", "tokens", "tokens\n/word", "bytes\n/token", "chars\n/token", "whole\n%", "cont.\n%", "bytes\n%"]
    headers += ["cut\n%", *(["unkn.\n%"] if has_unknown else []), "Renyi", *(["parity"] if has_parity else [])]
    rows = []
    for name, counts in tokenizer.sets.items():
        shares = [counts.share_words_whole, counts.share_words_continued, counts.share_byte_tokens]
        shares += [counts.share_cut_tokens, *([counts.share_unknown_tokens] if has_unknown else [])]
        ratios = (counts.tokens_per_word, counts.bytes_per_token, counts.chars_per_token)
        last = [counts.renyi_efficiency, *([counts.parity] if has_parity else [])]
        rows.append([name, _count(counts.n_tokens), *map(_fixed, ratios), *map(_percent, shares), *map(_fixed, last)])
    title = f"{plain(tokenizer.name, _NAME_LIMIT)}: {tokenizer.n_tokens:,} tokens, {tokenizer.family}"
    return _table(title, headers, rows, width)


def _vocabulary_table(record: AnalyzeRecord, width: int) -> RenderableType:
    headers = ["tokenizer", "tokens", "unused", "rare", "alike", "Gini\nper byte", "Gini per\ndocument"]
    headers += ["of 2,350\nsyllables", "of 11,172\nsyllables"] if record.is_korean else []
    rows = []
    for given in record.tokenizers:
        counts = (given.n_tokens, given.n_unused, given.n_rare, given.near_duplicates.n_near_duplicates)
        evenness = map(_fixed, (given.gini_tokens_per_byte, given.gini_tokens_per_document))
        syllables = [given.syllables.n_common_whole, given.syllables.n_modern_whole] if given.syllables else []
        rows.append([given.name, *map(_count, counts), *evenness, *map(_count, syllables)])
    return _table("Vocabularies, and how evenly they cost over the sets", headers, rows, width)


def _korean_table(record: AnalyzeRecord, width: int) -> RenderableType:
    headers = ["set", "tokenizer", "tokens\n/eojeol", "documents\nsampled", "token boundaries\nat morphemes' %",
               "morpheme boundaries\nat tokens' %"]  # fmt: skip
    rows = []
    for name, text in record.sets.items():
        for tokenizer in record.tokenizers if text.is_korean else ():
            met = tokenizer.sets[name].morphemes
            found = [DASH, DASH, DASH]
            if met is not None:
                shares = (met.share_token_boundaries_met, met.share_morpheme_boundaries_met)
                found = [_count(met.n_documents), *map(_percent, shares)]
            rows.append([name, tokenizer.name, _fixed(tokenizer.sets[name].tokens_per_eojeol), *found])
    return _table("Korean: eojeols and morphemes", headers, rows, width, n_names=2)


def _count(value: int | None) -> str:
    return shown(value, ",")


def _fixed(value: float | None) -> str:
    return DASH if value is None else fixed(value)


def _percent(value: float | None) -> str:
    """A share in percent, without the sign, which the head bears."""
    return DASH if value is None else percent(value).removesuffix(" %")
