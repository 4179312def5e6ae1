"""What a verification depends on beside the two tokenizers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vocabopt.text.reading import ReadOptions, TextFormat


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Everything that a verification depends on beside the two tokenizers.

    texts, protects: NAME -> PATH; lines of `protects` must not change, of `texts` those without the target script.
    scripts: "auto" (what extension.json says, else what the new tokens are written in), "none", or script names.
    pattern, specials: what a tiktoken rank file leaves out. unit, column, encoding, on_error,
    format: as in `ReadOptions`.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    protects: Mapping[str, str] = field(default_factory=dict)
    scripts: str = "auto"
    pattern: str | None = None
    specials: str | None = None
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    on_error: Literal["fail", "skip"] = "fail"
    format: TextFormat = "auto"

    def __post_init__(self) -> None:
        self.read_options()

    def read_options(self) -> ReadOptions:
        """The part that says how text is read."""
        return ReadOptions.of(self)
