"""What a merge adds to a base: pieces with their ids in order, the merges that make them, how they were found.

extension.json says it of a merged tokenizer, with what each new token replaces, how often it occurs, and what was
proved.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import msgspec

from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.records import Count, DocumentProof, FileRecord, KeptText, Record, Widened, json_of, read_record
from vocabopt.text.scripts import parse_scripts
from vocabopt.tokenizer import Tokenizer

if TYPE_CHECKING:
    import polars as pl

Method = Literal["grow", "union", "swap"]
Scores = Literal["unique", "zero"]

EXTENSION_JSON = "extension.json"


@dataclass(frozen=True, kw_only=True)
class Addition:
    """New pieces of a base tokenizer.

    pieces: as tokenizer.json spells them. texts: the bytes they stand for. reused: ids of the base that they take over,
    ascending (swap); where there are none the first piece gets the id `base.n_tokens`.
    merges: behind the base's own, in this order; None where every split of a piece into two pieces is one (union).
    scores: what tokenizer.model is given: "unique" ones below all of the base's, or "zero". kinds, parts: of each
    piece, as curve.parquet has them; empty where it was not grown.
    """

    method: Method
    pieces: Sequence[str]
    texts: Sequence[bytes]
    merges: Sequence[tuple[str, str]] | None
    scores: Scores = "unique"
    kinds: Sequence[str] = ()
    parts: Sequence[tuple[int, int] | None] = ()
    reused: Sequence[int] = ()

    @property
    def n_added(self) -> int:
        return len(self.pieces)

    def ids(self, base: Tokenizer) -> Sequence[int]:
        """The ids of the pieces, in order."""
        return self.reused or range(base.n_tokens, base.n_tokens + self.n_added)


def grown(base: Tokenizer, curve: "pl.DataFrame", n_added: int) -> Addition:
    """The first `n_added` rows of a growth curve: one merge a piece, and those that open pieces of the base."""
    rows = curve.head(n_added)
    return Addition(
        method="grow",
        pieces=rows["piece"].to_list(),
        texts=rows["bytes"].to_list(),
        merges=[pair for merges in merges_by_row(base, rows) for pair in merges],
        kinds=rows["kind"].to_list(),
        parts=[(left, right) if left >= 0 else None for left, right in rows.select("left", "right").iter_rows()],
    )


def merges_by_row(base: Tokenizer, rows: "pl.DataFrame") -> list[list[tuple[str, str]]]:
    """The merges that each row of a growth curve brings: none where it is a character, and those that it opens."""
    spelling = {index: piece for piece, index in base.tokenizer_json["model"]["vocab"].items()}
    spelling.update(enumerate(rows["piece"], base.n_tokens))
    is_opening = rows["opened"].list.len().sum() > 0
    known = {(left, right) for left, right in base.tokenizer_json["model"]["merges"]} if is_opening else frozenset()
    merges = []
    for left, right, opened in rows.select("left", "right", "opened").iter_rows():
        own = [(spelling[left], spelling[right])] if left >= 0 else []
        # Pieces that the base had but its merges could not reach, and now can. A merge that the base has already (its
        # parts could not be reached) keeps its rank: written a second time it would move to the later one.
        merges.append(own + [pair for a, b, _ in opened if (pair := (spelling[a], spelling[b])) not in known])
    return merges


# --- extension.json ---------------------------------------------------------------------------------------------------


class ExtendedBase(Record, frozen=True, kw_only=True):
    """The base, and how to load it again: what sweep.json says of it, but for the rows of its table."""

    name: str
    family: str | None = None
    source: str
    pattern: str | None = None
    specials: str | None = None
    sha256: str
    n_tokens: Count


class Proof(Record, frozen=True, kw_only=True):
    """What was proved of a merged tokenizer on the counted text."""

    #: The library that encoded it.
    encoder: str
    #: Tokens per text set; and what the sweep counted, null where it promised nothing.
    n_tokens: dict[str, Count]
    n_tokens_promised: dict[str, Count] | None
    #: Unique chunks that must not change, and those that did.
    n_protected_chunks: Count
    n_changed_chunks: Count
    documents: DocumentProof


class WidenedPattern(Record, frozen=True, kw_only=True):
    """The split pattern in place of the base's own, and the scripts whose words keep their marks by it."""

    scripts: tuple[str, ...]
    pattern: str


class NewToken(Record, frozen=True, kw_only=True):
    """A new token. bytes: in hexadecimal. base_ids: the base's own encoding of them. counts: in each text set.

    rank, kind, parts: as in curve.parquet; kind and parts are null where it was not grown.
    """

    id: Count
    piece: str
    bytes: str
    base_ids: tuple[Count, ...]
    rank: Count | None = None
    kind: str | None = None
    parts: tuple[Count, Count] | None = None
    counts: dict[str, Count] = msgspec.field(default_factory=dict)


class ReusedId(Record, frozen=True, kw_only=True):
    """An id of the base that stands for another piece."""

    id: Count
    old_piece: str
    new_piece: str


class ExtensionRecord(FileRecord, frozen=True, kw_only=True):
    """extension.json.

    With the method swap no row is new: `reused` has the ids that stand for other pieces, in the order of addition, and
    the tokens have these ids.
    """

    method: Method
    scores: Scores
    base: ExtendedBase
    #: The guard's; null where none was set.
    scripts: tuple[str, ...] | None = None
    #: Names of the texts that no merge may change.
    protected_sets: tuple[str, ...] = ()
    n_added: Count
    first_id: Count
    n_tokens: Count
    #: Of the model's table, padding included.
    n_rows: Count
    #: Rows of the model's table are to be a multiple of this: recorded, not a token.
    pad_to: Count | None = None
    n_rows_padded: Count
    n_unused: dict[str, Count] = msgspec.field(default_factory=dict)
    #: Null where no text was counted.
    proof: Proof | None = None
    reused: tuple[ReusedId, ...] = ()
    #: What the texts pay that a swap weighs, by name.
    kept: dict[str, KeptText] = msgspec.field(default_factory=dict)
    #: Null where the base's own split pattern stays.
    widened: WidenedPattern | None = None
    tokens: tuple[NewToken, ...]


def extension_record(
    base: Tokenizer,
    addition: Addition,
    *,
    scripts: tuple[str, ...] | None,
    protected_sets: Sequence[str] = (),
    base_n_rows: int,
    pad_to: int | None,
    counts: Mapping[str, list[int]],
    proof: Proof | None,
    kept: Mapping[str, KeptText] = MappingProxyType({}),
    widened: Widened | None = None,
) -> ExtensionRecord:
    """What extension.json holds.

    Args:
        base_n_rows: rows of the model's table before, padding included.
        counts: text set -> how often each new token occurs in it; empty where no text was counted.
        kept: what the texts pay that a swap weighs.
        widened: how the sweep widened the base's split pattern, which `base` then has.
    """
    ids = addition.ids(base)
    n_tokens = max(base.n_tokens, ids[-1] + 1) if ids else base.n_tokens
    n_rows = max(base_n_rows, n_tokens)
    # The base's own encoding of each piece, without a dummy prefix.
    encodings = base.merging_tokenizer.encode_batch_fast(list(addition.pieces), add_special_tokens=False)
    tokens = [
        NewToken(
            id=index,
            piece=piece,
            bytes=text.hex(),
            base_ids=tuple(encoding.ids),
            rank=i + 1,
            kind=addition.kinds[i] if addition.kinds else None,
            parts=addition.parts[i] if addition.parts else None,
            counts={name: column[i] for name, column in counts.items()},
        )
        for i, (index, piece, text, encoding) in enumerate(
            zip(ids, addition.pieces, addition.texts, encodings, strict=True)
        )
    ]
    return ExtensionRecord(
        method=addition.method,
        scores=addition.scores,
        base=ExtendedBase(**base.as_record()),
        scripts=scripts,
        protected_sets=tuple(protected_sets),
        n_added=addition.n_added,
        first_id=base.n_tokens,
        n_tokens=n_tokens,
        n_rows=n_rows,
        pad_to=pad_to,
        n_rows_padded=n_rows if pad_to is None else -(-n_rows // pad_to) * pad_to,
        n_unused={name: sum(count == 0 for count in column) for name, column in counts.items()},
        proof=proof,
        reused=tuple(
            ReusedId(id=index, old_piece=base.spelling[index], new_piece=piece)
            for index, piece in zip(addition.reused, addition.pieces, strict=False)
        ),
        kept=dict(kept),
        widened=None if widened is None else WidenedPattern(scripts=widened.scripts, pattern=widened.pattern),
        tokens=tuple(tokens),
    )


def extension_bytes(record: ExtensionRecord) -> bytes:
    """The file: readable, and a line a token."""
    fields = json_of(record)
    lists = {name: fields.pop(name) for name in ("reused", "tokens")}
    if record.method != "swap":
        del lists["reused"], fields["kept"]
    text = json.dumps(fields, ensure_ascii=False, indent=1)[:-2]
    for name, rows in lists.items():
        lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
        text += f',\n "{name}": [\n{lines}\n ]'
    return f"{text}\n}}\n".encode("utf-8", "backslashreplace")


def read_extension(folder: Path, *, next_step: str = "Merge again.") -> ExtensionRecord:
    """extension.json of a merged tokenizer's folder.

    Raises:
        RunDirectoryError: it is not there, broken, or its fields are missing, of another kind, or not of one another.
    """
    path = folder / EXTENSION_JSON
    record = read_record(path, ExtensionRecord, next_step=next_step)
    try:
        parse_scripts(",".join(record.scripts or ()) or "none")
    except OptionError as error:
        raise RunDirectoryError(f"{path}: field scripts: {error} {next_step}") from error
    for i, token in enumerate(record.tokens):
        if not re.fullmatch("([0-9a-f]{2})+", token.bytes):
            raise RunDirectoryError(f"{path}: field tokens.{i}.bytes is not bytes in hexadecimal. {next_step}")
    if record.method == "swap":
        _check_reused(record, path, next_step)
        return record
    first, end = record.first_id, record.first_id + record.n_added
    if record.n_tokens != end:
        raise RunDirectoryError(
            f"{path}: field n_tokens is {record.n_tokens:,}, not first_id and n_added together ({end:,}). {next_step}"
        )
    if [token.id for token in record.tokens] != list(range(first, end)):
        raise RunDirectoryError(f"{path}: field tokens: their ids are not {first:,} to {end - 1:,}. {next_step}")
    return record


def _check_reused(record: ExtensionRecord, path: Path, next_step: str) -> None:
    """Refuse a swap whose tokens are not those of the reused ids, or whose ids are not all of the base.

    Raises:
        RunDirectoryError: a field is at odds with another.
    """
    ids = [reused.id for reused in record.reused]
    if not record.first_id == record.n_tokens == record.base.n_tokens:
        raise RunDirectoryError(
            f"{path}: fields first_id and n_tokens are not the {record.base.n_tokens:,} tokens of the base, which a "
            f"swap keeps. {next_step}"
        )
    if len({*ids}) != record.n_added or any(index >= record.base.n_tokens for index in ids):
        raise RunDirectoryError(
            f"{path}: field reused: its ids are not {record.n_added:,} different ones of the base. {next_step}"
        )
    if [(token.id, token.piece) for token in record.tokens] != [(one.id, one.new_piece) for one in record.reused]:
        raise RunDirectoryError(f"{path}: field tokens is not what reused says, id by id. {next_step}")
