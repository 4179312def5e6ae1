"""`vocabopt sweep --estimate`: how long a sweep takes and what memory it needs, from a sample of its text.

The sample goes through the steps of a sweep. Reading and counting take as long per byte in the rest of the text.
Learning takes as long per unique chunk, and how many of these there are follows a power law of the text (Heaps' law),
fitted on the sample and on half of it. What is expected is not promised: text that changes on the way is not foreseen.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import Annotated

import msgspec
import numpy as np

from vocabopt.choice.complexity import parse_sizes
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError
from vocabopt.growth.counter import Counter, Counting
from vocabopt.growth.counts import ChunkCounts, SetStats, count_chunks
from vocabopt.growth.grow import GrowthOptions, grow, protected_chunks, warm_up
from vocabopt.growth.share import MOST_TEXT, counter_bytes, learning_bytes, too_little_memory
from vocabopt.growth.symbols import segment
from vocabopt.options import ReadOptions, SweepOptions
from vocabopt.records import Count, Record
from vocabopt.targets import balance_of, guard_of_targets, targets_of
from vocabopt.text.corpus import counted_sets, find_text_sets, n_stored_bytes
from vocabopt.text.documents import Documents
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.sets import N_FOLDS
from vocabopt.text.shards import Shard, documents_of_shard, shards_of
from vocabopt.tokenizer import load_base
from vocabopt.tokenizer.chunks import refine

#: Text of the sample: the steps of a sweep take about ten seconds with it.
_SAMPLE_BYTES = 24_000_000
_PART_BYTES = 1_000_000
#: Shares of the text that learning may take, from which the largest that fits is told.
_N_SHARES = 1_000
#: Choosing and drawing, whatever the text.
_REPORT_SECONDS = 5.0
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Estimate(Record, frozen=True, kw_only=True):
    """What a sweep is expected to take."""

    #: Stored text in all, and of that the sample.
    n_bytes: Count
    n_bytes_sample: Count
    n_workers: Count
    memory_bytes: Count
    #: Memory for learning from all text.
    n_bytes_to_learn_all: Count
    #: Of the text, what fits into memory_bytes.
    share_learned: float
    #: Loading the base; reading all text to learn from it; learning; counting all text with what was learned, which is
    #: 0 where all text is learned from; choosing and drawing.
    seconds: dict[str, Seconds]
    #: Counting, per core.
    bytes_per_second: float
    #: What takes time as well and is not in these figures.
    left_out: tuple[str, ...]

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


def estimated(options: SweepOptions, console: Console) -> Estimate:
    """Run the steps of a sweep on a sample of the text. Nothing is written.

    Raises:
        CorpusError: the text cannot be read, or its size is not known.
    """
    start = time.perf_counter()
    read, memory = options.read_options(), options.memory_bytes
    base = load_base(options.base, pattern=options.pattern, specials=options.specials)
    text_sets = find_text_sets(
        options.paths, target=options.target, texts=options.texts, evals=options.evals, protects=options.protects,
        keeps=options.keeps, aligned=options.aligned, options=read,
    )  # fmt: skip
    targets = targets_of(options, text_sets)
    total = n_stored_bytes(text_sets)
    if not total:
        raise CorpusError("--estimate: the size of the text is not known, or it is empty. Name files that hold text.")
    roles, heldout_of = counted_sets(text_sets)
    sample = _sample(shards_of(text_sets, read, shard_bytes=_PART_BYTES))
    warm_up()
    _ = base.chunk_tokenizer, base.fast_chunk_tokenizer
    seconds = {"load": time.perf_counter() - start}
    with console.step("sample"):
        blocks = _Blocks(read)

        def counted(shards: Sequence[Shard]) -> ChunkCounts:
            sets = {name: SetStats(role) for name, role in roles.items()}
            return count_chunks(
                blocks.of(shards), sets, base, heldout_share=options.heldout, seed=options.seed,
                heldout_of=heldout_of, cross_spaces=options.cross_spaces, n_threads=options.n_workers,
            )  # fmt: skip

        n_half = counted(sample[::2]).n_chunks
        blocks.n_stored_bytes, start = 0, time.perf_counter()
        counts = counted(sample)
        of_sample = blocks.n_stored_bytes
        seconds["read"] = (time.perf_counter() - start) * total / of_sample
        n_chunks, whole, of_train = counts.n_chunks, _sizes(counts), _sizes(counts, n_groups=len(heldout_of) * N_FOLDS)
        start = time.perf_counter()
        guard, targets = guard_of_targets(
            parse_scripts(options.scripts), counts, counts.weights(), targets, [], options.min_script_share
        )
        counts = refine(base, counts) if base.family == "byte-level-bpe" else counts
        weights = counts.weights()
        segmentation = segment(base, counts, weights)
        n_added = max((options.max_added, *(parse_sizes(options.sizes) or ())))
        growth_options = GrowthOptions(
            scripts=guard.scripts, max_added=n_added, min_saving=options.min_saving, cross_spaces=options.cross_spaces,
            balance=balance_of(targets, list(counts.sets)),
        )  # fmt: skip
        unprotected = protected_chunks(counts, weights, [], guard.scripts)
        growth = grow(base, counts, segmentation, weights, unprotected, growth_options)
        learning = time.perf_counter() - start
        counter = Counter(
            base,
            Counting(
                base=options.base, pattern=options.pattern, specials=options.specials, widened=None,
                base_sha256=base.sha256, merges=growth.merges, encoder=segmentation.encoder, sets=roles,
                heldout_of=heldout_of,
                heldout=options.heldout,
                seed=options.seed, cross_spaces=options.cross_spaces, read=read,
                memory_bytes=counter_bytes(memory, options.n_workers), inputs_sha256="",
            ),
        )  # fmt: skip
        # The first shard compiles, or loads what was compiled.
        counter.count(0, blocks.of(sample[:1]))
        blocks.n_stored_bytes, start = 0, time.perf_counter()
        counter.count(0, blocks.of(sample[1:]))
        rate = blocks.n_stored_bytes / (time.perf_counter() - start) if len(sample) > 1 else of_sample / learning
    exponent = min(1.0, max(0.0, log2(n_chunks / n_half))) if n_half and len(sample) > 1 else 1.0

    def sizes(share: float) -> tuple[int, int, int]:
        # A part of the text is one of the training set alone.
        more = (share * total / of_sample) ** exponent
        n_chunks, n_text, n_entries = (round(n * more) for n in (whole if share == 1 else of_train))
        return n_chunks, n_text, n_entries

    def needed(share: float) -> int:
        return learning_bytes(base.family, len(roles), len(heldout_of), *sizes(share))

    shares = [part / _N_SHARES for part in range(1, _N_SHARES + 1)]
    fits = [share for share in shares if needed(share) <= memory and sizes(share)[1] < MOST_TEXT]
    if not fits:
        raise OptionError(too_little_memory(memory))
    share = options.learn_from or fits[-1]
    seconds["learn"] = learning * (share * total / of_sample) ** exponent
    seconds["count"] = 0.0 if share == 1 else total / rate / options.n_workers
    seconds["report"] = _REPORT_SECONDS
    return Estimate(
        n_bytes=total,
        n_bytes_sample=of_sample,
        n_workers=options.n_workers,
        memory_bytes=memory,
        n_bytes_to_learn_all=needed(1.0),
        share_learned=share,
        seconds=seconds,
        bytes_per_second=rate,
        left_out=_left_out(options),
    )


def _left_out(options: SweepOptions) -> tuple[str, ...]:
    """What the sweep would do and the sample does not."""
    given = {
        "a first reading of all files, for their fingerprints": True,
        "what --protect keeps from being learned": bool(options.protects),
        "--widen-pattern, whose text is counted twice": options.widen_pattern is not None,
        f"--method {options.method}": options.method != "grow",
    }
    return tuple(what for what, is_so in given.items() if is_so)


def _sizes(counts: ChunkCounts, n_groups: int | None = None) -> tuple[int, int, int]:
    """Unique chunks, bytes of their text and entries; with n_groups those of the first groups alone."""
    if n_groups is None:
        return counts.n_chunks, len(counts.text), len(counts.groups)
    is_in = counts.groups < n_groups
    has = np.unique(np.repeat(np.arange(counts.n_chunks), np.diff(counts.offsets))[is_in])
    return len(has), int(np.diff(counts.ends, prepend=-1)[has].sum()), int(is_in.sum())


def _sample(shards: Sequence[Shard]) -> list[Shard]:
    """Shards spread evenly over the text, of about _SAMPLE_BYTES in all."""
    n_wanted = max(2, _SAMPLE_BYTES // _PART_BYTES)
    places = np.linspace(0, len(shards) - 1, min(n_wanted, len(shards))).astype(np.int64)
    return [shards[place] for place in places]


@dataclass
class _Blocks:
    """Reads shards, and adds up their stored bytes; of what cannot be cut only the beginning is read."""

    read: ReadOptions
    n_stored_bytes: int = 0

    def of(self, shards: Sequence[Shard]) -> Iterator[Documents]:
        for shard in shards:
            n_read = 0
            for block in documents_of_shard(shard, self.read):
                yield block
                self.n_stored_bytes += block.n_stored_bytes
                n_read += len(block.data)
                if n_read > 4 * _PART_BYTES:
                    break
