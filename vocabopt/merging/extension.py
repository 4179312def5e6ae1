"""What a merge adds to a base: pieces with their ids in order, the merges that make them, how they were found.

extension.json says it of a merged tokenizer, with what each new token replaces, how often it occurs, and what was
proved.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.fields import COUNT, Kind, Shape, check_fields
from vocabopt.folder import FORMAT_VERSION, read_json
from vocabopt.text.scripts import parse_scripts
from vocabopt.tokenizer import Tokenizer

if TYPE_CHECKING:
    import polars as pl

Method = Literal["grow", "union"]
Scores = Literal["unique", "zero"]


@dataclass(frozen=True, kw_only=True)
class Addition:
    """New pieces of a base tokenizer.

    pieces: as tokenizer.json spells them; the first gets the id `base.n_tokens`. texts: the bytes they stand for.
    merges: behind the base's own, in this order; None where every split of a piece into two pieces is one (union).
    scores: what tokenizer.model is given: "unique" ones below all of the base's, or "zero". details: for each piece
    what extension.json says beside its counts (kind, parts).
    """

    method: Method
    pieces: Sequence[str]
    texts: Sequence[bytes]
    merges: Sequence[tuple[str, str]] | None
    scores: Scores = "unique"
    details: Sequence[Mapping[str, Any]]

    @property
    def n_added(self) -> int:
        return len(self.pieces)


def grown(base: Tokenizer, curve: "pl.DataFrame", n_added: int) -> Addition:
    """The first `n_added` rows of a growth curve: one merge a piece, and those that open pieces of the base."""
    rows = curve.head(n_added)
    columns = rows.select("rank", "kind", "left", "right").iter_rows()
    return Addition(
        method="grow",
        pieces=rows["piece"].to_list(),
        texts=rows["bytes"].to_list(),
        merges=[pair for merges in merges_by_row(base, rows) for pair in merges],
        details=[
            {"rank": rank, "kind": kind, "parts": [left, right] if left >= 0 else None}
            for rank, kind, left, right in columns
        ],
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


def base_ids(base: Tokenizer, addition: Addition) -> list[list[int]]:
    """For each new piece the base's own encoding of its bytes, without a dummy prefix."""
    encodings = base.merging_tokenizer.encode_batch_fast(list(addition.pieces), add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def extension_record(
    base: Tokenizer,
    addition: Addition,
    *,
    scripts: tuple[str, ...] | None,
    protected_sets: Sequence[str] = (),
    base_n_rows: int,
    pad_to: int | None,
    counts: Mapping[str, list[int]],
    proof: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What extension.json holds.

    Args:
        scripts: the guard's; None where none was set.
        protected_sets: names of the texts that no merge may change.
        base_n_rows: rows of the model's table before, padding included.
        pad_to: rows of the model's table are to be a multiple of this; recorded, not a token.
        counts: text set -> how often each new token occurs in it; empty where no text was counted.
        proof: what was checked on the counted text (`run.prove`); None where no text was counted.
    """
    n_tokens = base.n_tokens + addition.n_added
    n_rows = max(base_n_rows, n_tokens)
    tokens = [
        {
            "id": base.n_tokens + i,
            "piece": piece,
            "bytes": text.hex(),
            "base_ids": replaced,
            **detail,
            "counts": {name: column[i] for name, column in counts.items()},
        }
        for i, (piece, text, replaced, detail) in enumerate(
            zip(addition.pieces, addition.texts, base_ids(base, addition), addition.details, strict=True)
        )
    ]
    return {
        "format_version": FORMAT_VERSION,
        "method": addition.method,
        "scores": addition.scores,
        "base": base.as_record(),
        "scripts": None if scripts is None else list(scripts),
        "protected_sets": list(protected_sets),
        "n_added": addition.n_added,
        "first_id": base.n_tokens,
        "n_tokens": n_tokens,
        "n_rows": n_rows,
        "pad_to": pad_to,
        "n_rows_padded": n_rows if pad_to is None else -(-n_rows // pad_to) * pad_to,
        "n_unused": {name: sum(count == 0 for count in column) for name, column in counts.items()},
        "proof": proof,
        "tokens": tokens,
    }


def extension_bytes(record: Mapping[str, Any]) -> bytes:
    """The file: readable, and a line a token."""
    head = json.dumps({key: value for key, value in record.items() if key != "tokens"}, ensure_ascii=False, indent=1)
    lines = ",\n".join(f"  {json.dumps(token, ensure_ascii=False)}" for token in record["tokens"])
    return f'{head[:-2]},\n "tokens": [\n{lines}\n ]\n}}\n'.encode("utf-8", "backslashreplace")


EXTENSION_JSON = "extension.json"
_TOKEN: Shape = {
    "id": COUNT,
    "piece": str,
    "bytes": Kind((str,), "bytes in hexadecimal", lambda value: re.fullmatch("([0-9a-f]{2})+", value) is not None),
    "base_ids": [COUNT],
    "rank?": COUNT,
    "kind?": str,
    "parts?": [COUNT],
    "counts?": {"*": COUNT},
}
_EXTENSION: Shape = {
    "method": str,
    "scores": str,
    "base": {"name": str, "source": str, "sha256": str, "n_tokens": COUNT},
    "scripts?": [str],
    "protected_sets?": [str],
    "n_added": COUNT,
    "first_id": COUNT,
    "n_tokens": COUNT,
    "n_rows": COUNT,
    "pad_to?": COUNT,
    "n_rows_padded": COUNT,
    "n_unused?": {"*": COUNT},
    "proof?": {},
    "tokens": [_TOKEN],
}


def read_extension(folder: Path, *, next_step: str = "Merge again.") -> dict[str, Any]:
    """extension.json of a merged tokenizer's folder.

    Raises:
        RunDirectoryError: it is not there, broken, or its fields are missing, of another kind, or not of one another.
    """
    path = folder / EXTENSION_JSON
    record = read_json(path, next_step=next_step)
    check_fields(record, _EXTENSION, path, next_step)
    if record.get("scripts") is not None:
        try:
            parse_scripts(",".join(record["scripts"]) or "none")
        except OptionError as error:
            raise RunDirectoryError(f"{path}: field scripts: {error} {next_step}") from error
    first, n_added = record["first_id"], record["n_added"]
    if record["n_tokens"] != first + n_added:
        raise RunDirectoryError(
            f"{path}: field n_tokens is {record['n_tokens']:,}, not first_id and n_added together "
            f"({first + n_added:,}). {next_step}"
        )
    if [token["id"] for token in record["tokens"]] != list(range(first, first + n_added)):
        raise RunDirectoryError(
            f"{path}: field tokens: their ids are not {first:,} to {first + n_added - 1:,}. {next_step}"
        )
    return record
