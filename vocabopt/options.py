"""The options of a sweep: one home for every default, checked when made, stored with the run."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vocabopt.errors import OptionError
from vocabopt.text.reading import ReadOptions, TextFormat
from vocabopt.text.scripts import MIN_SCRIPT_SHARE

DEFAULT_BASE = "mistral-7b-v1"
#: More rows than any text could fill, and fewer than would take all memory.
MAX_ADDED = 2_000_000


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Everything that moves the result of a sweep, as given on the command line.

    paths: files, folders, globs, URLs or "-". out: the run directory. target: the set to learn from. evals, protects:
    NAME -> PATH. scripts: "auto", "none" or script names. min_script_share: of the letters of the training text, from
    which on "auto" takes a writing system. sizes: None for the default grid. heldout: share of the training documents,
    picked by content hash. min_saving: stop when the best token saves fewer. cross_spaces: new tokens may hold a space
    after another character, as far as the base's own pattern lets them. pattern, specials: what a tiktoken rank file
    leaves out. method: "union" measures the paper's method beside the curve, with the vocabulary `vocab` or one trained
    on the text, its pieces scored as `scores` says.
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
    cross_spaces: bool = False
    seed: int = 0
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    on_error: Literal["fail", "skip"] = "fail"
    format: TextFormat = "auto"
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
        check_growth_options(self.max_added, self.min_saving, self.seed)
        if not 0 < self.min_script_share <= 1:
            raise OptionError(
                f"--min-script-share {self.min_script_share}: must be above 0 and at most 1 (0.1: a tenth)."
            )
        if self.method == "grow" and (self.vocab is not None or self.scores != "unique"):
            option = f"--vocab {self.vocab}" if self.vocab is not None else f"--scores {self.scores}"
            raise OptionError(f"{option}: is about the union method. Add --method union, or leave it out.")

    def read_options(self) -> ReadOptions:
        """The part that says how text is read."""
        return ReadOptions.of(self)

    def as_record(self) -> dict[str, Any]:
        record = asdict(self)
        return {**record, "paths": list(self.paths), "out": str(self.out)}


def check_growth_options(max_added: int, min_saving: int, seed: int) -> None:
    """What the growth pass and the hashes of documents can take.

    Raises:
        OptionError: a number is out of range.
    """
    if not 1 <= max_added <= MAX_ADDED:
        raise OptionError(f"--max-added {max_added}: must be between 1 and {MAX_ADDED:,}.")
    if not 1 <= min_saving < 2**63:
        raise OptionError(f"--min-saving {min_saving}: must be at least 1 token, and below 2**63.")
    if not 0 <= seed < 2**64:
        raise OptionError(f"--seed {seed}: must be between 0 and 2**64 - 1.")


def default_out(paths: tuple[str, ...], base: str) -> Path:
    """reports/<corpus>-<base>, from the first path."""
    corpus = Path(paths[0].rstrip("/*")).name if paths and paths[0] != "-" else "stdin"
    names = (re.sub(r"[^\w.-]+", "_", name) for name in (corpus or "corpus", Path(base).name))
    return Path("reports") / "-".join(names)
