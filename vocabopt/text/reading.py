"""What reading gives: a block of documents, with what was left out of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from vocabopt.errors import CorpusError
from vocabopt.options import ReadOptions as ReadOptions
from vocabopt.options import TextFormat as TextFormat
from vocabopt.text.lines import NUL, Unreadable

# What Python's str.strip() strips; polars' own white space lacks U+001C to U+001F.
_WHITE_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_SHOWN_COLUMNS = 20


@dataclass(frozen=True)
class Block:
    """Some documents of one file, in order.

    documents: String, without nulls and blank ones.
    n_blank: dropped because str.strip() leaves nothing; nulls and empty lines of jsonl count too.
    unreadable: left out because they cannot be read.
    n_stored_bytes: bytes of the stored (compressed) file used up by this block; a file's blocks add up to its size.
    first: the number, from 1, of the block's first line or record. kept: Boolean, which of them are documents.
    n_recoded: lines that were in the fallback encoding.
    damage: why the file could not be read beyond this block, which is then its last; only where on_error is "skip".
    """

    documents: pl.Series
    n_blank: int
    unreadable: tuple[Unreadable, ...]
    n_stored_bytes: int
    first: int
    kept: pl.Series
    n_recoded: int = 0
    damage: str | None = None

    @classmethod
    def of(
        cls,
        texts: pl.Series,
        unreadable: Sequence[Unreadable],
        n_stored_bytes: int,
        first: int,
        n_recoded: int = 0,
        damage: str | None = None,
    ) -> "Block":
        """From lines or records, nulls for those without text: the one rule for blank documents."""
        kept = (texts.str.strip_chars_start(_WHITE_SPACE) != "").fill_null(False)
        documents = texts.filter(kept)
        n_blank = len(texts) - len(documents) - len(unreadable)
        return cls(documents, n_blank, tuple(unreadable), n_stored_bytes, first, kept, n_recoded, damage)

    @property
    def n_skipped(self) -> int:
        return len(self.unreadable) + (self.damage is not None)

    @property
    def numbers(self) -> pl.Series:
        """The line or record, from 1, that each document stands in, Int64."""
        return pl.int_range(self.first, self.first + len(self.kept), eager=True).filter(self.kept)


def text_column(options: ReadOptions) -> str:
    """The column that holds the text."""
    return "text" if options.column is None else options.column


def no_column(url: str, options: ReadOptions, names: Sequence[str]) -> CorpusError:
    """What to say of a file whose records have other columns."""
    listed = ", ".join(names[:_SHOWN_COLUMNS]) + (", ..." if len(names) > _SHOWN_COLUMNS else "")
    return CorpusError(f"{url}: no column {text_column(options)!r}; name the text with --column: {listed}")


def checked_text(text: object, column: str | None = None) -> str | None:
    """The text of a record; ValueError says why it is none."""
    if text is None:
        return None
    if not isinstance(text, str):
        what = type(text).__name__
        raise ValueError(f"broken record ({what if column is None else f'{column!r} is {what}'}, not text)")
    if "\0" in text:
        raise ValueError(NUL)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate, which is half a character, or bytes of another encoding") from error
    return text
