"""The options of an analysis: one home for every default, checked when made, stored with the result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vocabopt.analyze import DEFAULT_MORPHEME_DOCUMENTS, DEFAULT_RARE
from vocabopt.errors import OptionError
from vocabopt.text.reading import ReadOptions, TextFormat


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions:
    """Everything that moves the result of an analysis, as given on the command line.

    tokenizers: PATH or NAME=PATH each. texts: NAME -> PATH. parity: the text set that the others are compared with,
    document by document. rare: tokens seen fewer times than this, but seen, are rare. morpheme_documents: at most so
    many documents of a Korean text set are split into morphemes; 0 leaves that out. out: where analyze.json,
    analyze.html and figures/ go; None writes nothing. The rest as in `SweepOptions`.
    """

    tokenizers: tuple[str, ...]
    texts: Mapping[str, str]
    parity: str | None = None
    rare: int = DEFAULT_RARE
    morpheme_documents: int = DEFAULT_MORPHEME_DOCUMENTS
    pattern: str | None = None
    specials: str | None = None
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    on_error: Literal["fail", "skip"] = "fail"
    format: TextFormat = "auto"
    out: Path | None = None

    def __post_init__(self) -> None:
        if not self.tokenizers:
            raise OptionError(
                "No tokenizer given. Name some, for example: vocabopt analyze mistral-7b-v1 ./my-tokenizer"
            )
        if not self.texts:
            raise OptionError("No text given. Name some with --text NAME=PATH, for example --text ko=korean.txt")
        if self.rare < 1:
            raise OptionError(f"--rare {self.rare}: must be at least 1 (1 calls no used token rare).")
        if self.morpheme_documents < 0:
            raise OptionError(
                f"--morpheme-documents {self.morpheme_documents}: must be at least 0 (0 leaves morphemes out)."
            )
        if self.parity is not None and self.parity not in self.texts:
            named = ", ".join(self.texts)
            raise OptionError(
                f"--parity {self.parity}: is no text set; there are {named}. Name it with --text as well."
            )
        self.read_options()

    def read_options(self) -> ReadOptions:
        """The part that says how text is read."""
        return ReadOptions.of(self)

    def as_record(self) -> dict[str, Any]:
        """What analyze.json says of them; where the result goes is no part of it."""
        record = asdict(self)
        del record["out"]
        return {**record, "tokenizers": list(self.tokenizers), "texts": dict(self.texts)}
