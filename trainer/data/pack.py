"""Pass two over the text: token ids of one stage on disk, in the order of the text, in bounded memory.

text -> encoded in the order it is read (_Spool, a file without a name) -> copied in the order of the text
     -> tokens.bin, starts.npy -> packed.json, whose presence means that all is there
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.encoder import DocumentEncoder
from trainer.data.origin import TextOrigin
from trainer.data.packed import PACKED_JSON, STARTS, TOKENS, PackedText
from trainer.data.scan import ScannedSource
from trainer.data.sources import document_blocks
from trainer.data.text_plan import StageText, TextPlan
from trainer.document_ends import DocumentEnds
from vocabopt.artifacts import FORMAT_VERSION, check_writable, digest, write_atomic, write_json_atomic
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, RunDirectoryError
from vocabopt.failures import refusal
from vocabopt.text.documents import content_hashes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
