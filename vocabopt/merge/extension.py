"""extension.json: what each new token is, what it replaces, how often it occurs, and what was proved of it."""

import json
from collections.abc import Mapping
from typing import Any

from vocabopt.artifacts import FORMAT_VERSION
from vocabopt.bases import Base
from vocabopt.merge.addition import Addition


def base_ids(base: Base, addition: Addition) -> list[list[int]]:
    """For each new piece the base's own encoding of its bytes, without a dummy prefix."""
    encodings = base.merging_tokenizer.encode_batch_fast(list(addition.pieces), add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def extension_record(
    base: Base,
    addition: Addition,
    *,
    scripts: tuple[str, ...] | None,
    base_n_rows: int,
    pad_to: int | None,
    counts: Mapping[str, list[int]],
    proof: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What extension.json holds.

    Args:
        scripts: the guard's; None where none was set.
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
