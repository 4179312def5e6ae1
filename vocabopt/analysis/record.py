"""analyze.json as typed records. A ratio stands beside the integers that it is made of; what is not defined is null."""

from typing import Any, ClassVar

from vocabopt.records import Count, FileRecord, Record, Share


class TextNumbers(Record, frozen=True, kw_only=True):
    """What a text set holds, whatever the tokenizer.

    Words: runs of characters that are not white space (Unicode's). n_syllables: Hangul syllables, one code point each.
    n_jamo: compatibility and halfwidth jamo, letters that stand alone (ㅋㅋ). n_conjoining: conjoining jamo, of which
    decomposed text (NFD) spells its syllables.
    """

    n_documents: Count
    n_blank: Count
    n_skipped: Count
    n_words: Count
    n_chars: Count
    n_bytes: Count
    is_korean: bool
    n_hangul: Count
    n_syllables: Count
    n_jamo: Count
    n_conjoining: Count
    share_jamo: Share | None
    share_nfd: Share | None


class Morphemes(Record, frozen=True, kw_only=True):
    """Boundaries of tokens and of morphemes in a sample of documents, as words.py finds them; n_met are both."""

    n_documents: Count
    n_token_boundaries: Count
    n_morpheme_boundaries: Count
    n_met: Count
    share_token_boundaries_met: Share | None
    share_morpheme_boundaries_met: Share | None


class SetNumbers(Record, frozen=True, kw_only=True):
    """What a tokenizer makes of a text set.

    n_tokens: strings of added tokens in the text, n_added_tokens, included. n_words: as the tokenizer meets them, after
    its normaliser and apart from added tokens. tokens_per_word: words of the text. n_chunks: parts into which its
    pre-tokenizer cuts the text, and which no token crosses; null where it has none. n_unused, n_rare: of the
    vocabulary.
    """

    n_tokens: Count
    n_chunks: Count | None = None
    n_added_tokens: Count
    n_byte_tokens: Count | None
    n_cut_tokens: Count
    n_unknown_tokens: Count | None
    n_words: Count
    n_words_whole: Count
    n_words_continued: Count
    n_eojeols: Count | None
    n_eojeol_tokens: Count | None
    n_unused: Count | None
    n_rare: Count | None
    tokens_per_word: float | None
    chunks_per_word: float | None = None
    bytes_per_token: float | None
    chars_per_token: float | None
    share_words_whole: Share | None
    share_words_continued: Share | None
    share_byte_tokens: Share | None
    share_cut_tokens: Share | None
    share_unknown_tokens: Share | None
    renyi_efficiency: float | None
    parity: float | None
    tokens_per_eojeol: float | None
    morphemes: Morphemes | None


class NearDuplicates(Record, frozen=True, kw_only=True):
    """Tokens that share their text with another when leading space, case and normal form (NFKC) are put aside.

    n_groups: the groups they form. n_by_space, n_by_case, n_by_normalisation: tokens that equal another when only that
    one difference is put aside; a token can be in several.
    """

    n_near_duplicates: Count
    n_groups: Count
    n_by_space: Count
    n_by_case: Count
    n_by_normalisation: Count


class Syllables(Record, frozen=True, kw_only=True):
    """Syllables that are one token: of KS X 1001 (common), and of all that Unicode has (modern)."""

    n_common: Count
    n_common_whole: Count
    n_modern: Count
    n_modern_whole: Count


class TokenizerNumbers(Record, frozen=True, kw_only=True):
    """A tokenizer on all sets. encoder: the library that encoded. n_plain: tokens that are no added ones."""

    name: str
    source: str
    sha256: str
    family: str
    encoder: str
    n_tokens: Count
    n_plain: Count
    n_unused: Count | None
    n_rare: Count | None
    near_duplicates: NearDuplicates
    syllables: Syllables | None
    gini_tokens_per_byte: float | None
    gini_tokens_per_document: float | None
    sets: dict[str, SetNumbers]


class AnalyzeRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Run `vocabopt analyze` again."

    options: dict[str, Any]
    renyi_alpha: float
    sets: dict[str, TextNumbers]
    tokenizers: tuple[TokenizerNumbers, ...]
    versions: dict[str, str]

    @property
    def is_korean(self) -> bool:
        return any(text.is_korean for text in self.sets.values())


def share(part: int | None, whole: int | None) -> float | None:
    """part / whole; None where either is unknown or there is no whole."""
    return part / whole if part is not None and whole else None
