"""Counting all text of a sweep with merges that were learned from a share of it: shard by shard, on all cores.

The sums so far are kept in the run directory with the shards that are in them, so that a run that was stopped goes on
with the others.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.console import Console
from vocabopt.errors import CorpusError, RunDirectoryError
from vocabopt.folder import digest
from vocabopt.growth.counter import Counted, Counting, start_counter
from vocabopt.growth.counts import SetStats
from vocabopt.growth.curve import Merges, Uses
from vocabopt.growth.shard_sums import add_up
from vocabopt.options import EngineOptions
from vocabopt.records import Swept
from vocabopt.text.shards import Shard

USES_NPZ = "uses.npz"
#: The same of the base as it is, where its pattern was widened for the merges.
BASE_USES_NPZ = "uses_base.npz"
_MERGES = ("closed", "events", "dormant", "fold_sizes")
#: What of a text set adds up; the sum of hashes wraps around, as it is to.
TOTALS = [field.name for field in fields(SetStats) if field.name != "role"]


@dataclass
class _Sums:
    """What the shards that are done add up to, and the file that keeps it.

    done: bool [n_shards]. totals: uint64 [n_sets, len(TOTALS)]. what: digest of all that the sums depend on.
    """

    uses: Uses
    done: NDArray[np.bool_]
    totals: NDArray[np.uint64]
    path: Path
    what: str
    merges: Merges
    shards: Sequence[Shard]

    def add(self, counted: Counted) -> int:
        self.uses.add(counted.uses)
        self.totals += totals_of(counted.sets)
        self.done[counted.number] = True
        return self.shards[counted.number].n_stored_bytes

    def save(self) -> None:
        more = {f"merges_{name}": getattr(self.merges, name) for name in _MERGES}
        what = np.frombuffer(self.what.encode(), np.uint8)
        self.uses.save(self.path, done=self.done, totals=self.totals, what=what, **more)


def totals_of(sets: Mapping[str, SetStats]) -> NDArray[np.uint64]:
    """What text sets hold, uint64 [n_sets, len(TOTALS)]."""
    return np.array([[getattr(stats, name) for name in TOTALS] for stats in sets.values()], np.uint64)


def stats_of(sets: Mapping[str, str], totals: NDArray[np.uint64]) -> dict[str, SetStats]:
    """The text sets that hold so much. sets: names and roles."""
    return {
        name: SetStats(role, **dict(zip(TOTALS, of_set, strict=True)))
        for (name, role), of_set in zip(sets.items(), totals.tolist(), strict=True)
    }


def count_whole_text(
    counting: Counting,
    shards: Sequence[Shard],
    options: EngineOptions,
    out: Path,
    console: Console,
    *,
    name: str = USES_NPZ,
) -> tuple[Uses, dict[str, SetStats]]:
    """Count every document of every set.

    Args:
        out: the run directory. name: of the file in it that keeps the sums: what an earlier run with the same merges
            counted in the same shards is not done again.

    Raises:
        VocaboptError: text cannot be read, or a worker was lost.
    """
    what = digest([counting.identity, [repr(shard) for shard in shards]])
    sums = _Sums(
        *(_read(out / name, what, len(shards)) or _nothing(counting, len(shards))),
        path=out / name,
        what=what,
        merges=counting.merges,
        shards=shards,
    )
    left = [shard for shard in shards if not sums.done[shard.number]]
    total = sum(shard.n_stored_bytes for shard in shards)
    n_done = total - sum(shard.n_stored_bytes for shard in left)
    if n_done:
        console.note(f"Going on: {len(shards) - len(left):,} of {len(shards):,} shards were counted before.")
    add_up(sums, left, (n_done, total), partial(start_counter, counting), options, console, step="count all")
    return sums.uses, stats_of(counting.sets, sums.totals)


def check_same_text(read: dict[str, SetStats], counted: dict[str, SetStats]) -> None:
    """Refuse text that changed between learning and counting.

    Raises:
        CorpusError: a text set holds something else than it did.
    """
    for name, stats in read.items():
        # Words are counted in one of the two passes alone.
        if replace(stats, n_words=0) != replace(counted[name], n_words=0):
            raise CorpusError(
                f"text set {name}: held {stats.n_documents:,} documents ({stats.n_bytes:,} bytes) when tokens were "
                f"learned, and {counted[name].n_documents:,} ({counted[name].n_bytes:,} bytes), or others, when they "
                "were counted: a file changed since the run began. Sweep again into another folder."
            )


def read_token_counts(run_dir: Path, sweep: Swept, n_added: int) -> dict[str, list[int]]:
    """How often each of the first n_added tokens occurs in each text set that was counted, with these alone.

    Raises:
        RunDirectoryError: uses.npz is not there, broken, or of another run than sweep.json.
    """
    path = run_dir / USES_NPZ
    try:
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            arrays = {name: stored[name] for name in stored.files}
        uses = Uses.of_arrays(arrays)
        merges = Merges(n_base_tokens=sweep.base.n_tokens, **{name: arrays[f"merges_{name}"] for name in _MERGES})
        counted = [*sweep.sets][len(sweep.sets) - len(uses.token_counts) :]
        n_tokens = uses.token_counts.sum(axis=1) + [sweep.sets[name].n_special_tokens for name in counted]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunDirectoryError(f"{path}: is missing or broken ({error}). {sweep.NEXT_STEP}") from error
    expected = sweep.base_tokens
    if sweep.widened is not None:
        expected = {name: given.n_tokens for name, given in sweep.widened.sets.items()}
    if n_tokens.tolist() != [expected[name] for name in counted] or not arrays["done"].all():
        raise RunDirectoryError(f"{path}: is not of the sweep that {run_dir} holds. {sweep.NEXT_STEP}")
    return dict(zip(counted, uses.new_token_counts(merges, n_added).tolist(), strict=True))


def _nothing(counting: Counting, n_shards: int) -> tuple[Uses, NDArray[np.bool_], NDArray[np.uint64]]:
    n_sets = len(counting.sets)
    return (
        Uses.none(counting.merges, n_sets),
        np.zeros(n_shards, bool),
        np.zeros((n_sets, len(TOTALS)), np.uint64),
    )


def _read(path: Path, what: str, n_shards: int) -> tuple[Uses, NDArray[np.bool_], NDArray[np.uint64]] | None:
    """The sums of an earlier run; None where there are none, of other merges or shards, or they are broken."""
    arrays = read_sums(path, what)
    try:
        if arrays is None or len(arrays["done"]) != n_shards:
            return None
        return Uses.of_arrays(arrays), arrays["done"], arrays["totals"]
    except (ValueError, KeyError):
        return None


def read_sums(path: Path, what: str | None = None) -> dict[str, NDArray[Any]] | None:
    """The arrays of an .npz file that an earlier run wrote; None where there is none, it is of something else than
    `what` says (None: whatever it is of), or it is broken."""
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return arrays if what in (None, arrays["what"].tobytes().decode()) else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
