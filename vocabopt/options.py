"""The options of a sweep: one home for every default, checked when made, stored with the run."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vocabopt.errors import OptionError
from vocabopt.readers import ReadOptions
from vocabopt.scripts import MIN_SCRIPT_SHARE

DEFAULT_BASE = "mistral-7b-v1"
#: More rows than any text could fill, and fewer than would take all memory.
MAX_ADDED = 2_000_000


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Everything that moves the result of a sweep, as given on the command line.

    paths: files, folders, globs, URLs or "-". out: the run directory. target: the set to learn from. evals, protects:
    NAME -> PATH. scripts: "auto", "none" or script names. min_script_share: of the letters of the training text, from
    which on "auto" takes a writing system. sizes: None for the default grid. heldout: share of the
    training documents, picked by content hash. min_saving: stop when the best token saves fewer. pattern, specials:
    what a tiktoken rank file leaves out. method: "union" measures the paper's method beside the curve, with the
    vocabulary `vocab` or one trained on the text, its pieces scored as `scores` says.
    """

    paths: tuple[str, ...]
    out: Path
    base: str = DEFAULT_BASE
    target: str | None = None
    evals: Mapping[str, str] = field(default_factory=dict)
    protects: Mapping[str, str] = field(default_factory=dict)
    scripts: str = "auto"
    min_script_share: float = MIN_SCRIPT_SHARE
    sizes: str | None = None
    max_added: int = 40_000
    heldout: float = 0.05
    model: str | None = None
    min_saving: int = 2
    seed: int = 0
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    on_error: Literal["fail", "skip"] = "fail"
    pattern: str | None = None
    specials: str | None = None
    method: Literal["grow", "union"] = "grow"
    vocab: str | None = None
    scores: Literal["unique", "zero"] = "unique"

    def __post_init__(self) -> None:
        if not self.paths:
            raise OptionError("No text given. Name files or folders, for example: vocabopt sweep corpus/")
        if not 0 <= self.heldout < 1:
            raise OptionError(f"--heldout {self.heldout}: must be at least 0 and below 1 (0.05 holds out 5 %).")
        if not 0 < self.min_script_share <= 1:
            raise OptionError(
                f"--min-script-share {self.min_script_share}: must be above 0 and at most 1 (0.1: a tenth)."
            )
        if not 1 <= self.max_added <= MAX_ADDED:
            raise OptionError(f"--max-added {self.max_added}: must be between 1 and {MAX_ADDED:,}.")
        if self.min_saving < 1:
            raise OptionError(f"--min-saving {self.min_saving}: must be at least 1 token.")
        if self.method == "grow" and (self.vocab is not None or self.scores != "unique"):
            option = f"--vocab {self.vocab}" if self.vocab is not None else f"--scores {self.scores}"
            raise OptionError(f"{option}: is about the union method. Add --method union, or leave it out.")
        if not 0 <= self.seed < 2**64:
            raise OptionError(f"--seed {self.seed}: must be between 0 and 2**64 - 1.")

    def read_options(self) -> ReadOptions:
        """The part that says how text is read."""
        return ReadOptions(unit=self.unit, column=self.column, encoding=self.encoding, on_error=self.on_error)

    def as_record(self) -> dict[str, Any]:
        record = asdict(self)
        return {**record, "paths": list(self.paths), "out": str(self.out)}


def default_out(paths: tuple[str, ...], base: str) -> Path:
    """reports/<corpus>-<base>, from the first path."""
    corpus = Path(paths[0].rstrip("/*")).name if paths and paths[0] != "-" else "stdin"
    names = (re.sub(r"[^\w.-]+", "_", name) for name in (corpus or "corpus", Path(base).name))
    return Path("reports") / "-".join(names)
