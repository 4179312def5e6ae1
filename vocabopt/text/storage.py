"""Stored bytes: opening local and remote files and standard input, decompressing, and saying what went wrong."""

import atexit
import functools
import gzip
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeAlias, cast

import zstandard

from vocabopt.errors import CorpusError, DamagedFileError, OptionError, VocaboptError, how_to_install
from vocabopt.failures import end_if_stopped, is_failure, is_panic, refusal
from vocabopt.text.utf8 import printable

STDIN = "-"
#: A part of a file: where it starts and ends, in stored bytes.
Span: TypeAlias = tuple[int, int]
_FORMATS = {"txt": "text", "ndjson": "jsonl"} | {kind: kind for kind in ("jsonl", "json", "csv", "tsv", "parquet")}
_GZ_STEP_BYTES = 1 << 17
_ZST_BEGINS = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)  # a frame, or one to be skipped
_ZST_STEP_BYTES = 1 << 14  # small, because a few bytes of zstd can unpack to 128 KiB


class _NotCompressedError(Exception):
    """A file begins otherwise than its suffix promises."""


def file_format(url: str) -> tuple[str, str]:
    """What the suffixes tell: the format of a file of text ("" for nothing), and its compression ("gz", "zst", "")."""
    name = next((link for link in url.split("::") if "://" in link), url).lower().rpartition("/")[2]
    stem, _, packed = name.rpartition(".")
    name, packed = (stem, packed) if packed in ("gz", "zst") else (name, "")
    kind = _FORMATS.get(name.rpartition(".")[2], "") if "." in name else ""
    return "" if packed and kind == "parquet" else kind, packed


def remote(url: str) -> tuple[Any, str]:
    """The fsspec file system of a remote URL, and the path in it."""
    from fsspec.core import url_to_fs  # most text is local, and fsspec takes 60 ms to import

    filesystem, path = url_to_fs(url)
    return filesystem, path


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn what goes wrong while `url` is opened or read into our errors; remote libraries raise kinds of their own."""
    try:
        yield
    except VocaboptError:
        raise
    except BaseException as error:
        end_if_stopped(error)
        if not is_failure(error):
            raise
        raise _told(error, url) from error


def _told(error: BaseException, url: str) -> VocaboptError:
    """The error of ours for one of another kind."""
    if isinstance(error, ImportError):
        how = f" {how_to_install('s3')}" if "s3://" in url or "s3a://" in url else ""
        return OptionError(f"{url}: {str(error).rstrip('.')}.{how}")
    if isinstance(error, FileNotFoundError):
        return CorpusError(f"{error.filename or url}: no such file or folder. Check the path.")
    if isinstance(error, PermissionError):
        where = error.filename or url
        return CorpusError(f"{where}: no permission to read it; check its mode, or your credentials")
    if isinstance(error, _NotCompressedError):
        return DamagedFileError(
            f"{url}: is not {error}, though its name ends so. Rename it if it is text, or fetch it again."
        )
    if isinstance(error, EOFError | gzip.BadGzipFile | zlib.error | zstandard.ZstdError):
        return DamagedFileError(f"{url}: the compressed file ended early or is damaged ({error}); fetch it again")
    if is_panic(error):
        return CorpusError(f"{url}: is damaged ({error}); fetch it again")
    return CorpusError(
        refusal(error, url, what="cannot be read")
        or f"{url}: cannot be read ({error}). Fetch it again, or name another."
    )


@contextmanager
def open_stored(url: str) -> Iterator[IO[bytes]]:
    """The stored bytes of a local or remote file, or of standard input ("-").

    Raises:
        CorpusError: it cannot be opened.
    """
    with reading(url):
        if "://" in url:
            filesystem, path = remote(url)  # this name keeps it alive: archives close their files when they go
            stored = cast(IO[bytes], filesystem.open(path, "rb"))
        else:
            stored = open(spooled_stdin() if url == STDIN else url, "rb")  # noqa: SIM115 (closed below)
    with stored:
        yield stored


@functools.cache
def spooled_stdin() -> str:
    """Path of a copy of standard input, which itself can be read only once; the copy is removed at exit."""
    with tempfile.NamedTemporaryFile(prefix="vocabopt-stdin-", delete=False) as spool:
        atexit.register(os.unlink, spool.name)
        shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
    return spool.name


def chunks(url: str, packed: str, n_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Decompressed bytes, and how many stored bytes are read by then. The last bytes, and only they, are empty.

    Raises:
        DamagedFileError: after all that could be unpacked. CorpusError: it cannot be opened or read.
    """
    with open_stored(url) as stored, reading(url):
        if packed == "zst":
            yield from _unpacked_zst(stored)
        elif packed == "gz":
            yield from _unpacked_gz(stored, n_bytes)
        else:
            while data := stored.read(n_bytes):
                yield data, stored.tell()
        yield b"", stored.tell()


def line_chunks(url: str, start: int, end: int, n_bytes: int) -> Iterator[tuple[bytes, int]]:
    """The lines of a plain file that begin in bytes `start` to `end`, as `chunks` gives them.

    Raises:
        CorpusError: it cannot be opened or read.
    """
    with open_stored(url) as stored, reading(url):
        # A line begins behind a line feed: the one before `start` tells whether one begins there.
        at, looks = stored.seek(max(0, start - 1)), start > 0
        while data := stored.read(n_bytes):
            first = 0
            if looks:
                first = data.find(b"\n") + 1
                looks = not first
                if (at + first if first else at + len(data)) >= end:
                    break
            if not looks:
                # The last line holds the byte before `end`.
                stop = data.find(b"\n", max(first, end - 1 - at)) + 1 if at + len(data) >= end else 0
                if piece := data[first : stop or len(data)]:
                    yield piece, min(stored.tell(), end) - start
                if stop:
                    break
            at += len(data)
        yield b"", end - start


def _unpacked_gz(stored: IO[bytes], n_bytes: int) -> Iterator[tuple[bytes, int]]:
    """All members of a gzip file, in small steps, since a step that meets damage gives nothing."""
    stream = gzip.GzipFile(fileobj=stored)
    gathered = bytearray()
    n_read = 0
    failure: Exception | None = None
    try:
        while data := stream.read1(min(n_bytes, _GZ_STEP_BYTES)):
            gathered += data
            n_read += len(data)
            if len(gathered) >= n_bytes:
                yield bytes(gathered), stored.tell()
                gathered.clear()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        is_other = not n_read and str(error).startswith("Not a gzipped file")
        failure = _NotCompressedError("gzip") if is_other else error
    if gathered:
        yield bytes(gathered), stored.tell()
    if failure is not None:
        raise failure


def _unpacked_zst(stored: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """All frames of a zstd file; zstandard's own stream_reader takes a file cut inside a frame for a shorter one."""
    frames = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    frame = None
    is_begun = False
    while data := stored.read(_ZST_STEP_BYTES):
        if not is_begun and not _ZST_BEGINS.match(data):
            raise _NotCompressedError("zstd")
        is_begun = True
        while data:
            frame = frame or frames.decompressobj()
            if text := frame.decompress(data):
                yield text, stored.tell()
            data = frame.unused_data
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("it stops inside a zstd frame")


@contextmanager
def local_path(url: str) -> Iterator[str]:
    """A path for polars, which reads remote files whole into memory: they are copied to disk for the time being."""
    with open_stored(url) as stored:  # a local file too: what cannot be opened is told in our words
        if "://" not in url:
            with _utf8_name(spooled_stdin() if url == STDIN else url) as path:
                yield path
            return
        with tempfile.NamedTemporaryFile(prefix="vocabopt-", suffix=".parquet") as copy:
            with reading(url):
                shutil.copyfileobj(stored, copy, 1 << 20)
                copy.flush()
            yield copy.name


@contextmanager
def _utf8_name(path: str) -> Iterator[str]:
    """The path, or a link to it where its name is not UTF-8: polars takes no other names."""
    if printable(path) == path:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vocabopt-") as folder:
        link = os.path.join(folder, "text.parquet")
        os.symlink(os.path.abspath(path), link)
        yield link
