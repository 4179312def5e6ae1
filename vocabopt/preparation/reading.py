"""From files to shards: runs of documents of about the same size, each knowing the file and line it came from."""

import codecs
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from vocabopt.errors import CorpusError, OptionError
from vocabopt.preparation.options import PrepareOptions
from vocabopt.preparation.record import FileReport
from vocabopt.text.corpus import TextFile, TextSet, find_text_sets
from vocabopt.text.readers import Block, read_blocks
from vocabopt.text.storage import chunks, file_format
from vocabopt.text.utf8 import printable

#: The name of what reading itself takes and changes, as if it were a step.
DECODE = "decode"
SCHEMA = {"source": pl.Int32, "line": pl.Int64, "text": pl.String}
_PEEK_BYTES = 4
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Shard:
    """Documents in order. source: index of the file among those read; line: of the line or record in it, from 1.

    unreadable: source, line, text and why of what could not be read. n_recoded: lines taken for the fallback encoding.
    """

    number: int
    documents: pl.DataFrame
    unreadable: pl.DataFrame
    n_blank: int
    n_recoded: int


@dataclass
class Reader:
    """Reads the shards of a text, once; a file that was read has its report."""

    text_set: TextSet
    options: PrepareOptions
    reports: list[FileReport] = field(default_factory=list)

    def shards(self, advance: Callable[[int], None] = lambda n_bytes: None) -> Iterator[Shard]:
        """The shards in order; their cuts depend on the text and the shard size alone. advance: stored bytes read.

        Raises:
            CorpusError: with `strict`, a file cannot be read.
        """
        pending: list[tuple[int, Block]] = []
        n_pending = number = n_stored = 0
        for source, block in self._blocks():
            pending.append((source, block))
            # What is no text is kept too, as far as it is shown, and must not gather without end.
            n_pending += int(block.documents.str.len_bytes().sum())
            n_pending += sum(len(entry.text.encode()) for entry in block.unreadable)
            n_stored += block.n_stored_bytes
            advance(n_stored)
            if n_pending >= self.options.shard_bytes:
                yield _shard(number, pending)
                pending, n_pending, number = [], 0, number + 1
        if pending:
            yield _shard(number, pending)

    def _blocks(self) -> Iterator[tuple[int, Block]]:
        block_bytes = min(4 << 20, self.options.shard_bytes)
        for source, file in enumerate(self.text_set.files):
            # n_documents, n_blank, n_unreadable, n_recoded
            read, encoding, problem = [0, 0, 0, 0], self.options.encoding, None
            try:
                encoding = _encoding(file, self.options)
                reading = self.options.read_options(encoding)
                with closing(read_blocks(file, reading, block_bytes=block_bytes)) as blocks:  # type: ignore[type-var]
                    for block in blocks:
                        of_block = (len(block.documents), block.n_blank, block.n_skipped, block.n_recoded)
                        read = [n + more for n, more in zip(read, of_block, strict=True)]
                        yield source, block
                        if block.damage is not None:
                            raise CorpusError(block.damage)
            except CorpusError as error:
                if self.options.strict:
                    raise
                problem = str(error)
            self.reports.append(
                FileReport(
                    url=printable(file.url), encoding=encoding, n_documents=read[0], n_blank=read[1],
                    n_unreadable=read[2], n_recoded=read[3], n_bytes=file.n_bytes, error=problem,
                )
            )  # fmt: skip


def find_text(options: PrepareOptions) -> TextSet:
    """The one text that the paths name.

    Raises:
        CorpusError: a path is missing, unreadable or holds no text. OptionError: the paths hold several languages, or
            the result would lie among them.
    """
    out = options.out.resolve()
    for path in options.paths:
        if "://" not in path and Path(path).is_dir() and (folder := Path(path).resolve()) in (out, *out.parents):
            raise OptionError(
                f"--out {options.out}: {'is' if folder == out else 'lies inside'} {path}, and would be read as text "
                "the next time. Choose a folder outside of it."
            )
    text_sets = find_text_sets(options.paths, target=None, evals={}, protects={}, options=options.read_options())
    if len(text_sets) > 1:
        names = ", ".join(sorted(text_set.name for text_set in text_sets))
        raise OptionError(
            f"{options.paths[0]}: has a folder per language ({names}), and each needs limits of its own. Prepare one "
            f"at a time: vocabopt prepare {options.paths[0].rstrip('/')}/{text_sets[0].name} --out ..."
        )
    return text_sets[0]


def _encoding(file: TextFile, options: PrepareOptions) -> str:
    kind, packed = file_format(file.url)
    if options.encoding != "auto" or "parquet" in (kind, options.format):
        return "utf-8" if options.encoding == "auto" else options.encoding
    start = b""
    with closing(chunks(file.url, packed, _PEEK_BYTES)) as pieces:  # type: ignore[type-var]
        while len(start) < _PEEK_BYTES and (piece := next(pieces)[0]):
            start += piece
    return next((codec for mark, codec in _MARKS if start.startswith(mark)), "utf-8")


def _shard(number: int, blocks: list[tuple[int, Block]]) -> Shard:
    frames = [
        pl.DataFrame({"line": block.numbers, "text": block.documents}).select(
            pl.lit(source, pl.Int32).alias("source"), "line", "text"
        )
        for source, block in blocks
    ]
    unreadable = [
        (source, entry.number, entry.text, entry.reason) for source, block in blocks for entry in block.unreadable
    ]
    return Shard(
        number=number,
        documents=pl.concat([pl.DataFrame(schema=SCHEMA), *frames]),
        unreadable=pl.DataFrame(unreadable, schema={**SCHEMA, "why": pl.String}, orient="row"),
        n_blank=sum(block.n_blank for _, block in blocks),
        n_recoded=sum(block.n_recoded for _, block in blocks),
    )
