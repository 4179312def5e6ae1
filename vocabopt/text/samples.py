"""A few short documents of each text set, picked by content, for the report to show how they are split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocabopt.records import SamplesRecord, read_record, write_record

SAMPLES_JSON = "samples.json"
N_SAMPLES = 5
#: A sentence or two: shorter documents say little, longer ones are cut.
MIN_CHARS, MAX_CHARS = 20, 160


class Samples:
    """Keeps, per text set, the documents that come first by (fits, content hash), in whatever order they come."""

    def __init__(self, names: Sequence[str]) -> None:
        self._kept: dict[str, dict[tuple[int, int], bytes]] = {name: {} for name in names}

    def offer(
        self,
        name: str,
        data: bytes,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        hashes: NDArray[np.uint64],
        n_chars: NDArray[np.int64],
    ) -> None:
        """Documents of one set: data[starts[i]:ends[i]], UTF-8."""
        kept = self._kept[name]
        # Neither too short nor too long; where there are few of those, cut ones; then short ones.
        for rank, fits in enumerate(
            ((n_chars >= MIN_CHARS) & (n_chars <= MAX_CHARS), n_chars > MAX_CHARS, n_chars < MIN_CHARS)
        ):
            of_rank = np.flatnonzero(fits & (hashes <= self._bound(name, rank)))
            distinct, first = np.unique(hashes[of_rank], return_index=True)
            for content_hash, i in zip(distinct[:N_SAMPLES].tolist(), of_rank[first[:N_SAMPLES]], strict=True):
                # Four bytes a character at most: enough of a long document.
                kept[rank, content_hash] = data[starts[i] : min(ends[i], starts[i] + 4 * MAX_CHARS + 4)]
            if sum(key[0] <= rank for key in kept) >= N_SAMPLES:
                break
        self._kept[name] = {key: kept[key] for key in sorted(kept)[:N_SAMPLES]}

    def _bound(self, name: str, rank: int) -> np.uint64:
        """The hash that a document of this rank must not be above to be kept: most need not be looked at again."""
        last = sorted(self._kept[name])[N_SAMPLES - 1 :][:1]
        return np.uint64(last[0][1] if last and last[0][0] == rank else 2**64 - 1)

    def texts(self) -> dict[str, list[str]]:
        """The documents kept, by set; a long one ends at a space, where it has one, with an ellipsis."""
        return {name: [_shortened(kept[key]) for key in sorted(kept)] for name, kept in self._kept.items()}

    def save(self, run_dir: Path) -> None:
        """Write samples.json. Raises RunDirectoryError."""
        write_record(run_dir / SAMPLES_JSON, SamplesRecord(samples=self.texts()))


def read_samples(run_dir: Path) -> dict[str, list[str]] | None:
    """What an earlier run kept; None where it kept none. Raises RunDirectoryError for a broken file."""
    path = run_dir / SAMPLES_JSON
    return read_record(path, SamplesRecord).samples if path.is_file() else None


def _shortened(data: bytes) -> str:
    # A document cut inside a character loses the broken rest of it.
    text = data.decode(errors="ignore")
    if len(text) <= MAX_CHARS:
        return text
    head = text[:MAX_CHARS]
    return (head.rsplit(" ", 1)[0] if " " in head else head) + " …"
