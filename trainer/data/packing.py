"""Packed text on disk: blocks of token ids of one length, with the documents in them kept apart; and pass two.

text -> encoded on all cores (a file without a name) -> copied in the order of the text
     -> tokens.bin, starts.npy -> packed.json, whose presence means that all is there
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from trainer.data.documents import ScannedSource, mixed
from trainer.data.encoder import DocumentEncoder
from trainer.data.shards import Encoded, Job, jobs_of, start_encoder, texts_to_agree_on
from trainer.data.text_plan import StageText, TextPlan
from vocabopt.console import Console
from vocabopt.engine import Engine, engine
from vocabopt.errors import OptionError, RunDirectoryError, VocaboptError
from vocabopt.failures import refusal
from vocabopt.folder import check_writable, digest, write_atomic
from vocabopt.options import EngineOptions
from vocabopt.records import FileRecord, Record, read_record, write_record
from vocabopt.text.readers import read_blocks
from vocabopt.training_record import DocumentEnds, Exposure

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trainer.data.collate import PackedDataset


TOKENS, STARTS, PACKED_JSON = "tokens.bin", "starts.npy", "packed.json"
_PIECE_TOKENS = 1 << 22
#: Documents that a message has room for, and characters of each.
N_SHOWN = 3
_N_CHARS = 40
#: A change in what the files hold raises it, so that older ones are made again.
_PACK_VERSION = 2


class PackedSource(Record, frozen=True, kw_only=True):
    """n_tokens: with start and end tokens. n_lost_chars: characters that the tokenizer has no token for."""

    n_documents: int
    n_bytes: int
    n_tokens: int
    n_lost_chars: int


class PackedRecord(FileRecord, frozen=True, kw_only=True):
    """packed.json."""

    NEXT_STEP: ClassVar[str] = "Pack the text again."

    context_tokens: int
    #: None where nothing closes documents.
    end_id: int | None
    dtype: str
    #: With the start and end tokens of the documents, without what fills up the last block.
    n_tokens: int
    sources: dict[str, PackedSource]
    fingerprint: str


class PackedText(PackedRecord, frozen=True, kw_only=True, dict=True):
    """The text of one stage as token ids, and where its documents start."""

    folder: Path
    #: The text itself, and the number of its stage, from 0; None for what was read from its folder alone.
    origin: tuple[TextPlan, int] | None = None

    @property
    def n_blocks(self) -> int:
        return -(-self.n_tokens // self.context_tokens)

    @property
    def n_bytes(self) -> int:
        return sum(source.n_bytes for source in self.sources.values())

    @property
    def n_documents(self) -> int:
        return sum(source.n_documents for source in self.sources.values())

    @classmethod
    def read(cls, folder: Path) -> "PackedText":
        """What `pack_stage` wrote.

        Raises:
            RunDirectoryError: it is not there, not finished, or broken.
        """
        return cls(folder=folder, **msgspec.structs.asdict(read_record(folder / PACKED_JSON, PackedRecord)))

    @cached_property
    def tokens(self) -> NDArray[Any]:
        """[n_blocks x context_tokens], the last block filled up with end tokens, else id 0; not read until used."""
        return np.memmap(self.folder / TOKENS, np.dtype(self.dtype), mode="r")

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each document starts, ascending, [n_documents]; not read until it is used."""
        return np.asarray(np.load(self.folder / STARTS, mmap_mode="r"))

    def block(self, index: int) -> dict[str, NDArray[np.int64]]:
        """A block in the order of the text: input_ids, position_ids and labels, int64 [context_tokens].

        Positions count from 0 in every document and every block. A label is the token itself, since transformers
        shifts labels; -100, for none, where a document or the block begins and behind the end of the text.
        """
        start = index * self.context_tokens
        stop = start + self.context_tokens
        ids = self.tokens[start:stop].astype(np.int64)
        first, last = np.searchsorted(self.starts, (start, stop))
        n_text = min(self.context_tokens, self.n_tokens - start)
        begins = np.concatenate([[0], self.starts[first:last] - start, [n_text]])
        begins = np.unique(begins[begins < self.context_tokens])
        lengths = np.diff(begins, append=self.context_tokens)
        labels = ids.copy()
        labels[begins] = -100
        labels[n_text:] = -100
        return {
            "input_ids": ids,
            "position_ids": np.arange(self.context_tokens) - np.repeat(begins, lengths),
            "labels": labels,
        }

    def order(self, seed: int) -> NDArray[np.int64]:
        """The blocks in the order in which they are trained on, [n_blocks]: a permutation that the seed chooses."""
        return np.argsort(mixed(np.arange(self.n_blocks, dtype=np.uint64), f"blocks {seed}"), kind="stable")

    def dataset(self, seed: int) -> "PackedDataset":
        """The blocks in that order, for torch. An item depends on its index alone: go on from any."""
        from trainer.data.collate import PackedDataset

        return PackedDataset(self, seed)

    def text_of(self, blocks: Sequence[int], seed: int) -> str:
        """The documents in some blocks of that dataset: 'ko: news.txt, document 12 ("The first ...")'.

        Documents are counted as they are read: those of a file from 1, blank ones left out. The text is read again up
        to them; where it is not there any more they are named by their place in their source. "" where it is not known.
        """
        if self.origin is None:
            return ""
        plan, stage = self.origin
        order = self.order(seed)
        numbers = sorted({number for block in blocks for number in self._documents(int(order[block]))})
        of_source, places = plan.stage(stage).order()
        shown = [(int(of_source[number]), int(places[number])) for number in numbers[:N_SHOWN]]
        found: dict[tuple[int, int], str] = {}
        for index, source in enumerate(plan.sources):
            wanted = {place for of, place in shown if of == index}
            found |= {(index, place): words for place, words in (_found(source, wanted) if wanted else {}).items()}
        told = "; ".join(
            f"{plan.sources[of].name}: {found.get((of, place), f'document {place + 1:,}')}" for of, place in shown
        )
        more = len(numbers) - len(shown)
        return told + (f"; and {more:,} more" if more else "")

    def _documents(self, block: int) -> range:
        """Of the text of the stage, those with a token in a block (a number in the order of the text)."""
        start = block * self.context_tokens
        stop = min(start + self.context_tokens, self.n_tokens)
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        return range(max(first, 0), int(np.searchsorted(self.starts, stop)))


def _found(source: ScannedSource, places: set[int]) -> Mapping[int, str]:
    """Place in the source -> file, number in it and beginning; what cannot be read again is left out."""
    found: dict[int, str] = {}
    place = -1
    try:
        for file in source.text_set.files:
            number = 0
            for block in read_blocks(file, source.options):
                for text in block.documents:
                    number += 1
                    place += 1
                    if place in places:
                        beginning = text[:_N_CHARS] + (" ..." if len(text) > _N_CHARS else "")
                        found[place] = f'{file.url}, document {number:,} ("{beginning}")'
                    if len(found) == len(places):
                        return found
    except (VocaboptError, OSError):
        pass
    return found


def occurrences(packed: Sequence[PackedText], new_ids: Sequence[int]) -> NDArray[np.int64]:
    """How often each new token occurs in the text of all stages, [n_new]."""
    ids = np.asarray(new_ids, np.int64)
    counts = np.zeros(int(ids.max(initial=-1)) + 1, np.int64)
    for text in packed if len(ids) else ():
        for start in range(0, text.n_tokens, _PIECE_TOKENS):
            found = np.bincount(text.tokens[start : min(start + _PIECE_TOKENS, text.n_tokens)])[: len(counts)]
            counts[: len(found)] += found
    return counts[ids]


def exposure(packed: Sequence[PackedText], new_ids: Sequence[int]) -> Exposure:
    """The new tokens in the text of all stages."""
    counts = occurrences(packed, new_ids)
    percentiles: list[int | None] = [None, None]
    if len(counts):
        percentiles = [int(np.percentile(counts, percent, method="inverted_cdf")) for percent in (50, 10)]
    return Exposure(n_new=len(counts), n_unseen=int((counts == 0).sum()), median=percentiles[0], p10=percentiles[1])


# --- Pass two ---------------------------------------------------------------------------------------------------------


def pack_stages(
    text_plan: TextPlan,
    tokenizer: "PreTrainedTokenizerBase",
    folders: Mapping[int, Path],
    *,
    context_tokens: int,
    ends: DocumentEnds | None = None,
    engine_options: EngineOptions | None = None,
    console: Console | None = None,
) -> list[PackedText]:
    """The text of stages as token ids, each in its folder; what is there already is taken where it is the same.

    The files depend on the documents, the tokenizer and the options alone, not on the order in which text is read, nor
    on where it is encoded.

    Args:
        folders: of each stage, by its number from 0.
        context_tokens: length of a block.
        ends: what opens and closes documents; None takes the tokenizer's own.
        engine_options: where text is encoded; None for all cores of this machine.

    Raises:
        OptionError: a stage's text is shorter than one block.
        CorpusError: the text cannot be read, or is not what it was when it was planned.
        BaseTokenizerError: the tokenizer cannot encode documents.
        RunDirectoryError: a folder cannot be written.
        EngineError: a worker was lost.
    """
    if context_tokens < 2:
        raise OptionError(f"--context {context_tokens}: must be at least 2 tokens.")
    encoder = DocumentEncoder.of(tokenizer, ends)
    make_worker = partial(start_encoder, encoder, texts_to_agree_on(text_plan.sources))
    with engine(engine_options or EngineOptions(), make_worker) as workers:
        packer = _Packer(encoder, workers, context_tokens, console or Console(quiet=True))
        return [packer.pack(text_plan, stage, folder) for stage, folder in folders.items()]


def pack_stage(
    text_plan: TextPlan, stage: int, tokenizer: "PreTrainedTokenizerBase", *, folder: Path, **options: Any
) -> PackedText:
    """The same of one stage, from 0; `options` are those of `pack_stages`."""
    (packed,) = pack_stages(text_plan, tokenizer, {stage: folder}, **options)
    return packed


@dataclass(frozen=True)
class _Packer:
    """What packs stages, one after another, with the same workers."""

    encoder: DocumentEncoder
    workers: Engine[Job, Encoded]
    context_tokens: int
    console: Console

    def pack(self, text_plan: TextPlan, stage: int, folder: Path) -> PackedText:
        text = text_plan.stage(stage)
        ends = self.encoder.ends
        fingerprint = digest(
            {
                "version": _PACK_VERSION,
                "text": text.fingerprint(),
                "tokenizer": self.encoder.sha256,
                "ends": [ends.start_id, ends.end_id],
                "context_tokens": self.context_tokens,
            }
        )
        packed = _finished(folder, fingerprint)
        if packed is None:
            check_writable(folder)
            (folder / PACKED_JSON).unlink(missing_ok=True)  # from here on its files are not what it says
            try:
                with tempfile.TemporaryFile(dir=folder) as spool:
                    packed = self._write(text, stage, spool, folder, fingerprint)
            except OSError as error:
                raise RunDirectoryError(
                    refusal(error, folder, what="the token ids of the text cannot be written")
                ) from error
        _check_size(packed, stage)
        return msgspec.structs.replace(packed, origin=(text_plan, stage))

    def _write(self, text: StageText, stage: int, spool: IO[bytes], folder: Path, fingerprint: str) -> PackedText:
        # Step 1: every document that the stage wants, once, however often it is repeated.
        wanted = [np.unique(documents) for documents in text.documents]
        spooled = self._encode(text.sources, wanted, stage, spool)
        # Step 2: where the documents, in the order of the text, are in the spool.
        of_source, documents = text.order()
        first_of_source = np.cumsum([0, *map(len, wanted)])
        slots = np.empty(len(documents), np.int64)
        for i, places in enumerate(wanted):
            mine = of_source == i
            slots[mine] = first_of_source[i] + np.searchsorted(places, documents[mine])
        offsets, lengths, n_lost = (values[slots] for values in spooled)
        dtype = self.encoder.dtype
        record = PackedRecord(
            context_tokens=self.context_tokens,
            end_id=self.encoder.ends.end_id,
            dtype=dtype.name,
            n_tokens=int(lengths.sum()),
            sources={
                source.name: PackedSource(
                    n_documents=len(sizes),
                    n_bytes=int(sizes.sum()),
                    n_tokens=int(lengths[of_source == i].sum()),
                    n_lost_chars=int(n_lost[of_source == i].sum()),
                )
                for i, (source, sizes) in enumerate(zip(text.sources, text.sizes(), strict=True))
            },
            fingerprint=fingerprint,
        )
        packed = PackedText(folder=folder, **msgspec.structs.asdict(record))
        _check_size(packed, stage)  # text that is too short leaves no files

        def write_tokens(file: IO[bytes]) -> None:
            spool.flush()
            for ids in _in_order(np.memmap(spool, dtype, mode="r"), offsets, lengths):
                file.write(ids.tobytes())
            n_filled = packed.n_blocks * self.context_tokens - packed.n_tokens
            # Nothing is predicted there, so without an end token any id does.
            file.write(np.full(n_filled, packed.end_id or 0, dtype).tobytes())

        # Step 3: the files, the one that says they are finished last.
        write_atomic(folder / TOKENS, write_tokens)
        write_atomic(folder / STARTS, lambda file: np.save(file, np.cumsum(lengths) - lengths))
        write_record(folder / PACKED_JSON, record)
        return packed

    def _encode(
        self, sources: Sequence[ScannedSource], wanted: Sequence[NDArray[np.int64]], stage: int, spool: IO[bytes]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Write the ids of the wanted documents as they come; of each, source by source, where they begin in the spool,
        in tokens, how many they are, and its lost characters."""
        sizes = np.concatenate([source.sizes[places] for source, places in zip(sources, wanted, strict=True)])
        offsets, lengths, n_lost = (np.zeros(len(sizes), np.int64) for _ in range(3))
        n_spooled = n_done = 0
        with self.console.step(f"encode stage {stage + 1}", int(sizes.sum(dtype=np.int64)), "bytes") as advance:
            for found in self.workers.run(jobs_of(sources, wanted), step=f"encode stage {stage + 1}"):
                mine = slice(found.first, found.first + len(found.lengths))
                offsets[mine] = n_spooled + np.cumsum(found.lengths) - found.lengths
                lengths[mine], n_lost[mine] = found.lengths, found.n_lost
                spool.write(found.ids.tobytes())
                n_spooled += len(found.ids)
                advance(n_done := n_done + int(sizes[mine].sum(dtype=np.int64)))
        return offsets, lengths, n_lost


def _finished(folder: Path, fingerprint: str) -> PackedText | None:
    """What an earlier call left, where it is of the same text, tokenizer and options and whole."""
    if not (folder / PACKED_JSON).is_file():
        return None
    try:
        packed = PackedText.read(folder)
        sizes = (len(packed.tokens), len(packed.starts))
    except (RunDirectoryError, OSError, ValueError):
        return None
    whole = sizes == (packed.n_blocks * packed.context_tokens, packed.n_documents)
    return packed if whole and packed.fingerprint == fingerprint else None


def _check_size(packed: PackedText, stage: int) -> None:
    if packed.n_tokens < packed.context_tokens:
        raise OptionError(
            f"stage {stage + 1}: its text is {packed.n_bytes:,} bytes, {packed.n_tokens:,} tokens, less than one block "
            f"(--context) of {packed.context_tokens:,} tokens. Raise --budget, give more text, or lower that."
        )


def _in_order(spooled: NDArray[Any], offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    """The ids of documents that are at these places, some documents at a time."""
    stops = np.cumsum(lengths)
    begin = 0
    while begin < len(stops):
        before = int(stops[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(stops, before + _PIECE_TOKENS, side="right")))
        shifts = offsets[begin:end] - (stops[begin:end] - lengths[begin:end] - before)
        yield spooled[np.arange(int(stops[end - 1]) - before) + np.repeat(shifts, lengths[begin:end])]
        begin = end
