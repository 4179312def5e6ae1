"""Counting all text of a sweep with merges that were learned from a share of it: shard by shard, on all cores.

The sums so far are kept in the run directory with the shards that are in them, so that a run that was stopped goes on
with the others.
"""

import io
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocabopt.console import Console
from vocabopt.engine import engine
from vocabopt.errors import CorpusError, RunDirectoryError
from vocabopt.folder import digest
from vocabopt.growth.counter import Counted, Counting, start_counter
from vocabopt.growth.counts import SetStats
from vocabopt.growth.curve import Merges, Uses
from vocabopt.options import EngineOptions
from vocabopt.processes import signals_blocked
from vocabopt.records import Swept
from vocabopt.text.shards import Shard

USES_NPZ = "uses.npz"
#: The same of the base as it is, where its pattern was widened for the merges.
BASE_USES_NPZ = "uses_base.npz"
#: Sums are written at most this often.
_SAVE_EVERY_SECONDS = 1.0
_MERGES = ("closed", "events", "dormant", "fold_sizes")
_TOTALS = [field.name for field in fields(SetStats) if field.name != "role"]


@dataclass
class _Sums:
    """What the shards that are done add up to. done: bool [n_shards]. totals: uint64 [n_sets, len(_TOTALS)]."""

    uses: Uses
    done: NDArray[np.bool_]
    totals: NDArray[np.uint64]

    def add(self, counted: Counted) -> None:
        self.uses.add(counted.uses)
        totals = [[getattr(stats, name) for name in _TOTALS] for stats in counted.sets.values()]
        self.totals += np.array(totals, np.uint64)  # which wraps around, as the sum of hashes is to
        self.done[counted.number] = True


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
    sums = _read(out / name, what, len(shards)) or _Sums(
        Uses.none(counting.merges, len(counting.sets)),
        np.zeros(len(shards), bool),
        np.zeros((len(counting.sets), len(_TOTALS)), np.uint64),
    )
    left = [shard for shard in shards if not sums.done[shard.number]]
    total = sum(shard.n_stored_bytes for shard in shards)
    n_done = total - sum(shard.n_stored_bytes for shard in left)
    if n_done:
        console.note(f"Going on: {len(shards) - len(left):,} of {len(shards):,} shards were counted before.")
    saved_at = time.monotonic()
    with console.step("count all", total or None, "bytes", n_done) as advance:
        try:
            with engine(options, partial(start_counter, counting)) as workers:
                for counted in workers.run(left, step="count all"):
                    with signals_blocked():  # a shard is in the sums as a whole, or not at all
                        sums.add(counted)
                    advance(n_done := n_done + shards[counted.number].n_stored_bytes)
                    if time.monotonic() - saved_at > _SAVE_EVERY_SECONDS:
                        _save(out / name, what, counting.merges, sums)
                        saved_at = time.monotonic()
        finally:
            _save(out / name, what, counting.merges, sums)
    stats = {
        name: SetStats(role, **dict(zip(_TOTALS, totals, strict=True)))
        for (name, role), totals in zip(counting.sets.items(), sums.totals.tolist(), strict=True)
    }
    return sums.uses, stats


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


def _save(path: Path, what: str, merges: Merges, sums: _Sums) -> None:
    more = {f"merges_{name}": getattr(merges, name) for name in _MERGES}
    sums.uses.save(path, done=sums.done, totals=sums.totals, what=np.frombuffer(what.encode(), np.uint8), **more)


def _read(path: Path, what: str, n_shards: int) -> _Sums | None:
    """The sums of an earlier run; None where there are none, of other merges or shards, or they are broken."""
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if arrays["what"].tobytes().decode() != what or len(arrays["done"]) != n_shards:
            return None
        return _Sums(Uses.of_arrays(arrays), arrays["done"], arrays["totals"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
