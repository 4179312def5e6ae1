"""`vocabopt analyze`: every tokenizer on every text set, and what belongs to a tokenizer alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vocabopt.analyze.korean import ALL_SYLLABLES, analyse, common_syllables, kiwi, measure_korean
from vocabopt.analyze.measures import RENYI_ALPHA, Measured, gini, measure, quotient
from vocabopt.analyze.subject import Subject, load_subject
from vocabopt.analyze.text import Text, read_text
from vocabopt.artifacts import FORMAT_VERSION
from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.readers import ReadOptions
from vocabopt.versions import versions


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions:
    """tokenizers, texts: NAME -> what to load. aligned: the set whose documents the others translate, for parity.

    n_rare: a token seen fewer times is rare. n_morpheme_documents: Korean documents analysed for morphemes, 0 for none.
    pattern, specials: complete a rank file, as in `load_base`.
    """

    tokenizers: Mapping[str, str]
    texts: Mapping[str, str]
    aligned: str | None = None
    n_rare: int = 10
    n_morpheme_documents: int = 1_000
    pattern: str | None = None
    specials: str | None = None
    read: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        if not self.tokenizers:
            raise OptionError(
                "No tokenizer given. Name one, for example: vocabopt analyze mistral-7b-v1 --text ko=ko.txt"
            )
        if not self.texts:
            raise OptionError("No text given. Name some with --text NAME=PATH, for example --text ko=korean.txt")
        if self.aligned is not None and self.aligned not in self.texts:
            raise OptionError(f"--parity {self.aligned}: no such text; there are {', '.join(self.texts)}.")
        if self.n_rare < 1 or self.n_morpheme_documents < 0:
            raise OptionError(
                f"--rare {self.n_rare}, --morphemes {self.n_morpheme_documents}: must be at least 1 and 0."
            )

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "tokenizers": dict(self.tokenizers), "texts": dict(self.texts)}


def analyze(options: AnalyzeOptions, console: Console) -> dict[str, Any]:
    """What analyze.json holds.

    Raises:
        VocaboptError: a tokenizer or text cannot be loaded, or the aligned set has another number of documents.
    """
    texts = []
    with console.step("read", len(options.texts), "text sets") as advance:
        for done, (name, path) in enumerate(options.texts.items(), 1):
            texts.append(read_text(name, path, options.read))
            advance(done)
    _check_aligned(texts, options.aligned)
    analysed, morpheme_note = _morphemes(texts, options, console)
    records = []
    for name, value in options.tokenizers.items():
        subject = load_subject(name, value, pattern=options.pattern, specials=options.specials)
        with console.step(name, len(texts), "text sets") as advance:
            measured: dict[str, Measured] = {}
            korean: dict[str, dict[str, Any]] = {}
            for done, text in enumerate(texts, 1):
                measured[text.name] = measure(subject, text, n_rare=options.n_rare)
                if text.is_korean:
                    korean[text.name] = measure_korean(subject, text, analysed.get(text.name)).as_record()
                advance(done)
        records.append(_record(subject, measured, korean, options.aligned))
    return {
        "format_version": FORMAT_VERSION,
        "options": options.as_record(),
        "versions": versions(),
        "renyi_alpha": RENYI_ALPHA,
        "morpheme_note": morpheme_note,
        "tokenizers": records,
    }


def _record(
    subject: Subject, measured: Mapping[str, Measured], korean: Mapping[str, Any], aligned: str | None
) -> dict[str, Any]:
    n_documents = {one.n_documents for one in measured.values()}
    return {
        "name": subject.name,
        **{key: value for key, value in subject.side.as_record().items() if key != "name"},
        "n_text_tokens": int(subject.is_text.sum()),
        "n_near_duplicates": subject.n_near_duplicates,
        "n_common_syllables": subject.n_single_tokens(common_syllables()) if korean else None,
        "n_syllables": subject.n_single_tokens(ALL_SYLLABLES) if korean else None,
        # Texts of as many documents are taken for translations of each other only where the user says so.
        "gini": gini([one.n_tokens for one in measured.values()]) if aligned and len(n_documents) == 1 else None,
        "sets": {
            name: one.as_record()
            | {
                "parity": None if aligned is None else quotient(one.n_tokens, measured[aligned].n_tokens),
                "korean": korean.get(name),
            }
            for name, one in measured.items()
        },
    }


def _check_aligned(texts: Sequence[Text], aligned: str | None) -> None:
    if aligned is None:
        return
    n_aligned = next(len(text.documents) for text in texts if text.name == aligned)
    for text in texts:
        if len(text.documents) != n_aligned:
            raise OptionError(
                f"--parity {aligned}: has {n_aligned:,} documents and {text.name} has {len(text.documents):,}; parity "
                "compares translations line by line. Give texts of the same lines, or leave it out."
            )


def _morphemes(texts: Sequence[Text], options: AnalyzeOptions, console: Console) -> tuple[dict[str, Any], str | None]:
    """The analysed sample of each Korean set; and why there is none."""
    korean = [text for text in texts if text.is_korean]
    if not korean or not options.n_morpheme_documents:
        return {}, None
    with console.step("morphemes"):
        analyser = kiwi()
        if analyser is None:
            return {}, "Morphemes were not looked at: pip install 'vocabopt[ko]' installs what finds them."
        return {text.name: analyse(text, analyser, options.n_morpheme_documents) for text in korean}, None
