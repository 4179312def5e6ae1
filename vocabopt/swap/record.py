"""swap.json as a typed record: the rows in the order in which they are freed, and what every size saves and costs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec

from vocabopt.errors import RunDirectoryError
from vocabopt.records import Count, FileRecord, KeptText, Record, SetTokens, read_record
from vocabopt.swap import SWAP_JSON

#: Roles of text sets whose cost is weighed. Protected text stays as it is where rows are added; here it can only count.
KEPT_ROLES = ("kept", "protected")


class SwapPoint(Record, frozen=True, kw_only=True):
    """So many rows swapped: the first freed ids have the first pieces of the curve."""

    n_swapped: Count
    #: Tokens of every text set with the written tokenizer.
    sets: dict[str, SetTokens]
    #: Of each kept text the eighth of its documents that had no say in which rows go, special tokens in them left out.
    unseen: dict[str, KeptText]
    #: The library that encoded.
    encoder: str


class SwapChoice(Record, frozen=True, kw_only=True):
    """The size, of those measured, at which the target's saving is most above what the kept texts lose.

    Both are shares of a text's tokens with the base, of documents that had no say where there are some. 0: no size
    saves more than it costs.
    """

    n_swapped: Count
    #: The text set whose saving counts.
    set: str


class SwapRecord(FileRecord, frozen=True, kw_only=True):
    """swap.json."""

    NEXT_STEP: ClassVar[str] = "Sweep into this folder with --method swap again."

    #: Of the curve whose first pieces are swapped in.
    curve_sha256: str
    keep_weight: float
    #: Names of the texts that rows are kept for, and so the texts whose losses count.
    kept_sets: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    max_swap: Count
    #: Ids of the base in the order in which they are freed; and what each costs as it goes: tokens more in kept text
    #: and in the target, each text's as a share of its tokens times its weight, in parts of 10^12.
    freed_ids: tuple[Count, ...]
    costs: tuple[int, ...]
    #: Different pieces of text that the order leaves out, and whose tokens all stay: the base's own encoder takes them
    #: otherwise than by its merges.
    n_odd_units: Count
    points: Annotated[tuple[SwapPoint, ...], msgspec.Meta(min_length=1)]
    choice: SwapChoice

    def ratio_saved(self, point: SwapPoint, base_tokens: Mapping[str, int], name: str | None = None) -> float:
        """Tokens that a text set saves at a size, as a share of its own with the base; None: the set decided on."""
        n_base = base_tokens[name or self.choice.set]
        return 1 - point.sets[name or self.choice.set].n_tokens / n_base if n_base else 0.0

    def net_saving(self, point: SwapPoint, base_tokens: Mapping[str, int]) -> float:
        """What the target saves less what the kept texts lose, their losses added up and weighted."""
        lost = [self.ratio_lost(point, base_tokens, name) for name in self.kept_sets]
        return self.ratio_saved(point, base_tokens) - self.keep_weight * sum(lost)

    def ratio_lost(self, point: SwapPoint, base_tokens: Mapping[str, int], name: str) -> float:
        """Tokens more in a kept text, as a share: of documents that had no say; of all where those have no token."""
        unseen = point.unseen[name].ratio_lost
        return -self.ratio_saved(point, base_tokens, name) if unseen is None else unseen


def read_swap(run_dir: Path, curve_sha256: str) -> SwapRecord | None:
    """swap.json of a run; None where there is none, or where it is of another curve than sweep.json.

    Raises:
        RunDirectoryError: it is broken, or a field is missing or no value of its kind.
    """
    path = run_dir / SWAP_JSON
    if not path.is_file():
        return None
    record = read_record(path, SwapRecord)
    ids = {*record.freed_ids}
    if not len(ids) == len(record.freed_ids) == len(record.costs) == record.max_swap:
        raise RunDirectoryError(
            f"{path}: field freed_ids: is not {record.max_swap:,} different ids, each with its cost. {record.NEXT_STEP}"
        )
    return record if record.curve_sha256 == curve_sha256 else None


def read_swap_record(run_dir: Path, curve_sha256: str) -> SwapRecord:
    """The same where it must be there. Raises RunDirectoryError."""
    if (record := read_swap(run_dir, curve_sha256)) is None:
        raise RunDirectoryError(
            f"{run_dir / SWAP_JSON}: is missing, or of another curve than sweep.json. {SwapRecord.NEXT_STEP}"
        )
    return record
