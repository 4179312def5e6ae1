"""Packed text on disk: blocks of token ids of one length, with the documents in them kept apart; and pass two.

text -> encoded in the order it is read (_Spool, a file without a name) -> copied in the order of the text
     -> tokens.bin, starts.npy -> packed.json, whose presence means that all is there

`TextOrigin` finds the source, file and document that a block of tokens comes from, for messages.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.documents import ScannedSource, document_blocks, mixed
from trainer.data.encoder import DocumentEncoder
from trainer.data.text_plan import StageText, TextPlan
from trainer.document_ends import DocumentEnds
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, RunDirectoryError, VocaboptError
from vocabopt.failures import refusal
from vocabopt.folder import FORMAT_VERSION, check_writable, digest, read_json, write_atomic, write_json_atomic
from vocabopt.text.documents import content_hashes
from vocabopt.text.readers import read_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trainer.data.collate import PackedDataset


TOKENS, STARTS, PACKED_JSON = "tokens.bin", "starts.npy", "packed.json"
_PIECE_TOKENS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class PackedText:
    """The text of one stage as token ids, and where its documents start.

    end_id: None where nothing closes documents. n_tokens: with the start and end tokens of the documents, without what
    fills up the last block. sources: name -> n_documents, n_bytes, n_tokens, n_lost_chars (characters that the
    tokenizer has no token for). origin: the text itself; None for what was read from its folder alone.
    """

    folder: Path
    context_tokens: int
    end_id: int | None
    dtype: str
    n_tokens: int
    sources: Mapping[str, Mapping[str, int]]
    fingerprint: str
    origin: "TextOrigin | None" = field(default=None, compare=False, repr=False)

    @property
    def n_blocks(self) -> int:
        return -(-self.n_tokens // self.context_tokens)

    @property
    def n_bytes(self) -> int:
        return sum(source["n_bytes"] for source in self.sources.values())

    @property
    def n_documents(self) -> int:
        return sum(source["n_documents"] for source in self.sources.values())

    @classmethod
    def read(cls, folder: Path) -> "PackedText":
        """What `pack_stage` wrote.

        Raises:
            RunDirectoryError: it is not there, not finished, or broken.
        """
        record = read_json(folder / PACKED_JSON, next_step="Pack the text again.")
        return cls(folder=folder, **{key: record[key] for key in cls.fields()})

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Those that packed.json holds."""
        return ("context_tokens", "end_id", "dtype", "n_tokens", "sources", "fingerprint")

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
        """The documents in some blocks of that dataset, in words; "" where the text is not known."""
        return "" if self.origin is None else self.origin.in_words(self, blocks, seed)

    def pieces(self) -> Iterator[NDArray[Any]]:
        """The tokens in order, without what fills up the last block, in pieces of bounded size."""
        for start in range(0, self.n_tokens, _PIECE_TOKENS):
            yield self.tokens[start : min(start + _PIECE_TOKENS, self.n_tokens)]


@dataclass(frozen=True)
class Exposure:
    """How often each new token occurs in the training text. counts: int64 [n_new]."""

    counts: NDArray[np.int64]

    @property
    def n_new(self) -> int:
        return len(self.counts)

    @property
    def n_unseen(self) -> int:
        return int((self.counts == 0).sum())

    @property
    def median(self) -> int | None:
        return self._percentile(50)

    @property
    def p10(self) -> int | None:
        """A tenth of the new tokens occur at most so often."""
        return self._percentile(10)

    def _percentile(self, percent: int) -> int | None:
        return int(np.percentile(self.counts, percent, method="inverted_cdf")) if self.n_new else None

    def as_record(self) -> dict[str, int | None]:
        return {"n_new": self.n_new, "n_unseen": self.n_unseen, "median": self.median, "p10": self.p10}


def exposure(packed: Sequence[PackedText], new_ids: Sequence[int]) -> Exposure:
    """Count the new tokens in the text of all stages."""
    ids = np.asarray(new_ids, np.int64)
    counts = np.zeros(int(ids.max(initial=-1)) + 1, np.int64)
    for text in packed if len(ids) else ():
        for piece in text.pieces():
            found = np.bincount(piece)[: len(counts)]
            counts[: len(found)] += found
    return Exposure(counts[ids])


#: Documents that a message has room for, and characters of each.
N_SHOWN = 3
_N_CHARS = 40


@dataclass(frozen=True, kw_only=True)
class TextOrigin:
    """Where a stage's packed text comes from. stage: from 0."""

    plan: TextPlan
    stage: int

    def in_words(self, packed: PackedText, blocks: Sequence[int], seed: int) -> str:
        """The documents in some blocks of the dataset of this seed: 'ko: news.txt, document 12 ("The first ...")'.

        Documents are counted as they are read: those of a file from 1, blank ones left out. The text is read again up
        to them; where it is not there any more they are named by their place in their source.
        """
        order = packed.order(seed)
        numbers = sorted({number for block in blocks for number in _documents(packed, int(order[block]))})
        of_source, places = self.plan.stage(self.stage).order()
        shown = [(int(of_source[number]), int(places[number])) for number in numbers[:N_SHOWN]]
        told = [""] * len(shown)
        for index, source in enumerate(self.plan.sources):
            wanted = {place for of, place in shown if of == index}
            found = _found(source, wanted) if wanted else {}
            for i, (of, place) in enumerate(shown):
                if of == index:
                    told[i] = f"{source.name}: {found.get(place, f'document {place + 1:,}')}"
        more = len(numbers) - len(shown)
        return "; ".join(told) + (f"; and {more:,} more" if more else "")


def _documents(packed: PackedText, block: int) -> range:
    """Of the text of the stage, those with a token in a block (a number in the order of the text)."""
    start = block * packed.context_tokens
    stop = min(start + packed.context_tokens, packed.n_tokens)
    first = int(np.searchsorted(packed.starts, start, side="right")) - 1
    return range(max(first, 0), int(np.searchsorted(packed.starts, stop)))


def _found(source: ScannedSource, places: set[int]) -> Mapping[int, str]:
    """Place in the source -> file, number in it and beginning; what cannot be read again is left out."""
    found: dict[int, str] = {}
    try:
        for place, (url, number, text) in enumerate(_read(source)):
            if place in places:
                beginning = text[:_N_CHARS] + (" ..." if len(text) > _N_CHARS else "")
                found[place] = f'{url}, document {number:,} ("{beginning}")'
                if len(found) == len(places):
                    break
    except (VocaboptError, OSError):
        pass
    return found


def _read(source: ScannedSource) -> Iterator[tuple[str, int, str]]:
    for file in source.source.text_set.files:
        number = 0
        for block in read_blocks(file, source.source.options):
            for text in block.documents:
                number += 1
                yield file.url, number, text


#: A change in what the files hold raises it, so that older ones are made again.
_PACK_VERSION = 2
#: Text encoded at a time: enough documents for many cores, and a few hundred megabytes of what the encoder gives back.
_BATCH_BYTES = 2 << 20


def pack_stage(
    text_plan: TextPlan,
    stage: int,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    context_tokens: int,
    folder: Path,
    ends: DocumentEnds | None = None,
    console: Console | None = None,
) -> PackedText:
    """The text of a stage (from 0) as token ids in `folder`; what is there already is taken where it is the same.

    The files depend on the documents, the tokenizer and the options alone, not on the order in which text is read.

    Args:
        context_tokens: length of a block.
        ends: what opens and closes documents; None takes the tokenizer's own.

    Raises:
        OptionError: the stage's text is shorter than one block.
        CorpusError: the text cannot be read, or is not what it was when it was planned.
        BaseTokenizerError: the tokenizer cannot encode documents.
        RunDirectoryError: the folder cannot be written.
    """
    console = console or Console(quiet=True)
    if context_tokens < 2:
        raise OptionError(f"--context {context_tokens}: must be at least 2 tokens.")
    encoder = DocumentEncoder.of(tokenizer, ends)
    text = text_plan.stage(stage)
    fingerprint = _fingerprint(text, encoder, context_tokens)
    packed = _finished(folder, fingerprint)
    if packed is None:
        check_writable(folder)
        (folder / PACKED_JSON).unlink(missing_ok=True)  # from here on its files are not what it says
        with _disk(folder), _Spool(folder, encoder.dtype) as spool:
            with console.step(f"encode stage {stage + 1}", _n_distinct_bytes(text), "bytes") as advance:
                _encode(text, encoder, spool, advance)
            packed, places, lengths = _layout(text, encoder, spool, context_tokens, folder, fingerprint)
            _check_size(packed, stage)  # text that is too short leaves no files
            _write(packed, spool, places, lengths)
    _check_size(packed, stage)
    return replace(packed, origin=TextOrigin(plan=text_plan, stage=stage))


def _fingerprint(text: StageText, encoder: DocumentEncoder, context_tokens: int) -> str:
    return digest(
        {
            "version": _PACK_VERSION,
            "text": text.fingerprint(),
            "tokenizer": encoder.sha256,
            "ends": [encoder.ends.start_id, encoder.ends.end_id],
            "context_tokens": context_tokens,
        }
    )


def _finished(folder: Path, fingerprint: str) -> PackedText | None:
    """What an earlier call left, where it is of the same text, tokenizer and options and whole."""
    if not (folder / PACKED_JSON).is_file():
        return None
    try:
        packed = PackedText.read(folder)
        sizes = (len(packed.tokens), len(packed.starts))
    except (RunDirectoryError, KeyError, OSError, ValueError):
        return None
    whole = sizes == (packed.n_blocks * packed.context_tokens, packed.n_documents)
    return packed if whole and packed.fingerprint == fingerprint else None


def _check_size(packed: PackedText, stage: int) -> None:
    if packed.n_tokens < packed.context_tokens:
        raise OptionError(
            f"stage {stage + 1}: its text is {packed.n_bytes:,} bytes, {packed.n_tokens:,} tokens, less than one block "
            f"(--context) of {packed.context_tokens:,} tokens. Raise --budget, give more text, or lower that."
        )


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunDirectoryError(refusal(error, folder, what="the token ids of the text cannot be written")) from error


@dataclass
class _Spool:
    """Encoded documents in the order they are read, in a file that vanishes with the process.

    documents: per source the places of its documents that the stage wants, ascending. lengths, n_lost: tokens
    of each document, and characters that have none, of all sources one after the other.
    """

    folder: Path
    dtype: "np.dtype[Any]"
    documents: list[NDArray[np.int64]] = field(default_factory=list)
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    n_lost: list[NDArray[np.int64]] = field(default_factory=list)

    def __enter__(self) -> "_Spool":
        self.file: IO[bytes] = tempfile.TemporaryFile(dir=self.folder)
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def add(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], n_lost: NDArray[np.int64]) -> None:
        self.file.write(ids.astype(self.dtype).tobytes())
        self.lengths.append(lengths)
        self.n_lost.append(n_lost)

    def copy(self, places: NDArray[np.int64], lengths: NDArray[np.int64], into: IO[bytes]) -> None:
        """The documents at these places, in tokens, one after another."""
        self.file.flush()
        size = self.dtype.itemsize
        for place, length in zip((places * size).tolist(), (lengths * size).tolist(), strict=True):
            self.file.seek(place)
            into.write(self.file.read(length))


def _n_distinct_bytes(text: StageText) -> int:
    parts = zip(text.sources, text.documents, strict=True)
    return sum(int(source.sizes[np.unique(documents)].sum(dtype=np.int64)) for source, documents in parts)


def _encode(text: StageText, encoder: DocumentEncoder, spool: _Spool, advance: Callable[[int], None]) -> None:
    """Encode every document that the stage wants once, however often it is repeated."""
    n_done = 0
    for source, documents in zip(text.sources, text.documents, strict=True):
        spool.documents.append(np.unique(documents))
        for texts, n_bytes in _batches(source, spool.documents[-1]):
            spool.add(*encoder.encode(texts))
            n_done += n_bytes
            advance(n_done)


def _batches(source: ScannedSource, wanted: NDArray[np.int64]) -> Iterator[tuple[list[str], int]]:
    """The wanted documents in the order they are read, and their bytes.

    Raises:
        CorpusError: the text is not what pass one read.
    """
    texts: list[str] = []
    n_bytes = n_read = 0
    for block in document_blocks(source.source.text_set, source.source.options):
        stop = n_read + len(block.starts)
        if len(block.starts):
            hashes = content_hashes(block.data, block.starts, block.ends)
            if not np.array_equal(hashes, source.hashes[n_read:stop]):
                raise CorpusError(_changed(source))
        first, last = np.searchsorted(wanted, (n_read, stop))
        for i in (wanted[first:last] - n_read).tolist():
            document = block.data[block.starts[i] : block.ends[i]]
            texts.append(document.decode())
            n_bytes += len(document)
            if n_bytes >= _BATCH_BYTES:
                yield texts, n_bytes
                texts, n_bytes = [], 0
        n_read = stop
    if n_read != len(source.hashes):
        raise CorpusError(_changed(source))
    if texts:
        yield texts, n_bytes


def _changed(source: ScannedSource) -> str:
    files = ", ".join(file.url for file in source.source.text_set.files[:3])
    return f"{source.name}: the text of {files} changed while it was prepared. Leave it as it is, and start again."


def _layout(
    text: StageText, encoder: DocumentEncoder, spool: _Spool, context_tokens: int, folder: Path, fingerprint: str
) -> tuple[PackedText, NDArray[np.int64], NDArray[np.int64]]:
    """What is to be said of the packed text; and of its documents, in order, their places in the spool and lengths."""
    of_source, documents = text.order()
    first_of_source = np.cumsum([0, *(len(wanted) for wanted in spool.documents)])
    slots = np.empty(len(documents), np.int64)
    for i, wanted in enumerate(spool.documents):
        mine = of_source == i
        slots[mine] = first_of_source[i] + np.searchsorted(wanted, documents[mine])
    spooled = np.concatenate(spool.lengths)
    lengths, n_lost = spooled[slots], np.concatenate(spool.n_lost)[slots]
    packed = PackedText(
        folder=folder,
        context_tokens=context_tokens,
        end_id=encoder.ends.end_id,
        dtype=encoder.dtype.name,
        n_tokens=int(lengths.sum()),
        sources={
            source.name: {
                "n_documents": len(sizes),
                "n_bytes": int(sizes.sum()),
                "n_tokens": int(lengths[of_source == i].sum()),
                "n_lost_chars": int(n_lost[of_source == i].sum()),
            }
            for i, (source, sizes) in enumerate(zip(text.sources, text.sizes(), strict=True))
        },
        fingerprint=fingerprint,
    )
    return packed, (np.cumsum(spooled) - spooled)[slots], lengths


def _write(packed: PackedText, spool: _Spool, places: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    """The files, the one that says they are finished last."""
    write_atomic(packed.folder / TOKENS, lambda file: _write_tokens(file, packed, spool, places, lengths))
    write_atomic(packed.folder / STARTS, lambda file: np.save(file, np.cumsum(lengths) - lengths))
    record = {name: getattr(packed, name) for name in PackedText.fields()}
    write_json_atomic(packed.folder / PACKED_JSON, {"format_version": FORMAT_VERSION, **record})


def _write_tokens(
    file: IO[bytes], packed: PackedText, spool: _Spool, places: NDArray[np.int64], lengths: NDArray[np.int64]
) -> None:
    spool.copy(places, lengths, file)
    n_filled = packed.n_blocks * packed.context_tokens - packed.n_tokens
    # Nothing is predicted there, so without an end token any id does.
    file.write(np.full(n_filled, packed.end_id or 0, spool.dtype).tobytes())
