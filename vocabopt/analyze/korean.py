"""Korean: eojeols, syllables, jamo, and whether tokens end where morphemes do."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from vocabopt.analyze.measures import quotient
from vocabopt.analyze.subject import Subject
from vocabopt.analyze.text import Text

#: KS X 1001's syllables, in its order; and all modern ones.
ALL_SYLLABLES = tuple(map(chr, range(0xAC00, 0xD7A4)))


@cache
def common_syllables() -> tuple[str, ...]:
    """The 2,350 syllables of KS X 1001: rows B0 to C8 of EUC-KR."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF))
    return tuple(code.decode("euc_kr") for code in codes)


@dataclass(frozen=True, kw_only=True)
class Morphemes:
    """Boundaries inside the eojeols of a sample: of tokens, of morphemes, and of both.

    n_skipped: eojeols whose tokens do not spell them (normalised or unknown), left out. A token boundary inside a
    character is one that meets no morpheme.
    """

    n_documents: int
    n_token_boundaries: int
    n_morpheme_boundaries: int
    n_both: int
    n_skipped: int

    @property
    def precision(self) -> float | None:
        """Share of token boundaries that are morpheme boundaries."""
        return quotient(self.n_both, self.n_token_boundaries)

    @property
    def recall(self) -> float | None:
        """Share of morpheme boundaries that are token boundaries."""
        return quotient(self.n_both, self.n_morpheme_boundaries)


@dataclass(frozen=True, kw_only=True)
class Korean:
    """One tokenizer on one Korean text set."""

    n_eojeols: int
    n_eojeol_tokens: int
    n_jamo: int
    n_conjoining: int
    n_hangul: int
    morphemes: Morphemes | None

    @property
    def eojeol_fertility(self) -> float | None:
        """Tokens per word that holds Hangul, its space included."""
        return quotient(self.n_eojeol_tokens, self.n_eojeols)

    @property
    def share_jamo(self) -> float | None:
        """Of Hangul characters, those that are jamo of any kind."""
        return quotient(self.n_jamo, self.n_hangul)

    @property
    def share_nfd(self) -> float | None:
        """Of Hangul characters, the conjoining jamo that canonical decomposition (NFD) makes."""
        return quotient(self.n_conjoining, self.n_hangul)

    def as_record(self) -> dict[str, Any]:
        names = ("eojeol_fertility", "share_jamo", "share_nfd")
        record = asdict(self) | {name: getattr(self, name) for name in names}
        if self.morphemes is not None:
            record["morphemes"] |= {"precision": self.morphemes.precision, "recall": self.morphemes.recall}
        return record


def measure_korean(subject: Subject, text: Text, analysed: "Analysed | None") -> Korean:
    """Count a Korean text; `analysed` is its sample with morphemes, None where there is none."""
    eojeols = text.eojeols
    rows = subject.encode_words(list(eojeols))
    n_jamo, n_conjoining, n_hangul = text.jamo
    return Korean(
        n_eojeols=eojeols.total(),
        n_eojeol_tokens=sum(n * len(ids) for n, ids in zip(eojeols.values(), rows, strict=True)),
        n_jamo=n_jamo,
        n_conjoining=n_conjoining,
        n_hangul=n_hangul,
        morphemes=None if analysed is None else _meet(subject, analysed),
    )


# --- Morphemes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Analysed:
    """Eojeols of sampled documents, each with the characters at which a morpheme begins inside it."""

    n_documents: int
    eojeols: Sequence[tuple[str, frozenset[int]]]


def kiwi() -> Any:
    """kiwipiepy's analyser; None where the extra `ko` is not installed."""
    try:
        from kiwipiepy import Kiwi
    except ImportError:
        return None
    return Kiwi()


def analyse(text: Text, analyser: Any, n_documents: int) -> Analysed:
    """Morphemes of `n_documents` documents spread evenly over the set.

    A contracted form (haess-: ha + ass) begins its parts at one character, which counts once.
    """
    step = max(1, len(text.documents) // n_documents)
    sample = list(text.documents[::step][:n_documents])
    eojeols = []
    for document, morphemes in zip(sample, analyser.tokenize(sample), strict=True):
        starts = {morpheme.start for morpheme in morphemes}
        position = 0
        for word in document.split():
            position = document.index(word, position)
            inside = frozenset(start - position for start in starts if position < start < position + len(word))
            eojeols.append((word, inside))
            position += len(word)
    return Analysed(n_documents=len(sample), eojeols=eojeols)


def _meet(subject: Subject, analysed: Analysed) -> Morphemes:
    """Where token and morpheme boundaries fall together, inside eojeols."""
    words = sorted({word for word, _ in analysed.eojeols})
    cuts = {word: _cuts(subject, word, ids) for word, ids in zip(words, subject.encode_words(words), strict=True)}
    n_token = n_morpheme = n_both = n_skipped = 0
    for word, inside in analysed.eojeols:
        cut = cuts[word]
        if cut is None:
            n_skipped += 1
            continue
        n_token += len(cut)
        n_morpheme += len(inside)
        n_both += sum(character in inside for character in cut)
    return Morphemes(
        n_documents=analysed.n_documents,
        n_token_boundaries=n_token,
        n_morpheme_boundaries=n_morpheme,
        n_both=n_both,
        n_skipped=n_skipped,
    )


def _cuts(subject: Subject, word: str, ids: Sequence[int]) -> list[int] | None:
    """The characters of a word at which a token begins, -1 for each token that begins inside a character.

    None where the tokens do not spell the word.
    """
    parts = [subject.bytes_of[index] for index in ids]
    if b"".join(part or b"" for part in parts) != f" {word}".encode():
        return None
    at_byte = {0: 0}
    for number, character in enumerate(word):
        at_byte[max(at_byte) + len(character.encode())] = number + 1
    cuts, position = [], -1  # the space before the word
    for part in parts[:-1]:
        position += len(part or b"")
        if position > 0:
            cuts.append(at_byte.get(position, -1))
    return cuts
