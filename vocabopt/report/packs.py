"""What the page's scripts read: the curve, the tokens and the sample sentences, each as base64 of gzip.

A pack is the length of its header (4 bytes, little-endian), the header as JSON, then columns one after the other.
Integers are LEB128: seven bits a byte, the lowest first; columns that rise and fall are stored as zigzag differences.
Equal input gives equal bytes.
"""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from vocabopt.records import json_of
from vocabopt.report.text import plain
from vocabopt.report.view import View
from vocabopt.text.sets import HELDOUT
from vocabopt.tokenizer import Tokenizer

# --- Integers in few bytes --------------------------------------------------------------------------------------------

Integers = npt.NDArray[np.int64]


def leb128(values: npt.ArrayLike) -> bytes:
    """Non-negative integers, seven bits a byte, the lowest first; all but a number's last have the top bit set."""
    rest = np.asarray(values, dtype=np.uint64)
    if not rest.size:
        return b""
    n_groups = max(1, -(-int(rest.max()).bit_length() // 7))
    shifts = np.arange(n_groups, dtype=np.uint64) * np.uint64(7)
    groups = (rest[:, None] >> shifts) & np.uint64(0x7F)
    above = (rest[:, None] >> shifts) >> np.uint64(7)
    groups |= np.where(above > 0, np.uint64(0x80), np.uint64(0))
    is_there = np.concatenate([np.ones((rest.size, 1), bool), above[:, :-1] > 0], axis=1)
    encoded: bytes = groups[is_there].astype(np.uint8).tobytes()
    return encoded


def differences(first: int, values: npt.ArrayLike) -> bytes:
    """Each value less the one before it, as zigzag: 0, -1, 1, -2 ... become 0, 1, 2, 3 ..."""
    steps = np.diff(np.asarray(values, dtype=np.int64), prepend=np.int64(first))
    return leb128(np.where(steps < 0, -2 * steps - 1, 2 * steps))


# --- Packs ------------------------------------------------------------------------------------------------------------

MAX_PAGE_BYTES = 4_000_000
#: Bytes of a token's text that travel; the table shows fewer.
N_PIECE_BYTES = 192
#: Characters of a sample sentence that travel.
N_SAMPLE_CHARS = 600
N_SAMPLES = 5
KINDS = ("merge", "char", "step")


def pack(header: Mapping[str, Any], columns: Iterable[bytes] = ()) -> bytes:
    # ASCII only: a lone surrogate, which a file's name may hold, is no UTF-8.
    head = json.dumps(header, separators=(",", ":")).encode("ascii")
    data = b"".join([len(head).to_bytes(4, "little"), head, *columns])
    return gzip.compress(data, compresslevel=6, mtime=0)


def curve_pack(view: View) -> bytes:
    """Tokens of every text set at every size, and what the numbers of the page are computed from."""
    sets = [
        {
            "name": plain(row.name),
            "n_tokens_base": row.stats.n_tokens_base,
            "n_words": row.stats.n_words,
            "n_bytes": row.stats.n_bytes,
        }
        for row in view.sets
    ]
    columns = [differences(row.stats.n_tokens_base, view.sizes.n_tokens[row.name][1:]) for row in view.sets]
    has_used = view.heldout is not None
    if has_used:
        columns.append(differences(0, view.sizes.n_used[HELDOUT][1:]))
    base, cost = view.sweep.base, view.choice.model_cost
    header = {
        "n": view.curve.height,
        "n_choice": view.n_choice,
        "sets": sets,
        "main": view.sets.index(view.main_set),
        "main_words": plain(view.words_of(view.main)),
        "has_used": has_used,
        "n_tokens_base": base.n_tokens,
        "n_rows_base": base.n_rows,
        "n_params_per_row": view.n_params_per_row,
        "flops": None if cost is None else json_of(cost.flops),
        "context_tokens": None if cost is None else cost.context_tokens,
    }
    return pack(header, columns)


def tokens_pack(view: View, base: Tokenizer | None) -> bytes:
    """Every added token: its text, how often it came, and where its two parts meet.

    Columns: length of the text kept, bytes left out, kind, count, length of the left part + 1 (0: not known), and the
    texts one after the other. The left part's length is all that is needed to show what a token replaced.
    """
    curve = view.curve
    texts: list[bytes] = curve.get_column("bytes").to_list()
    lengths = np.fromiter((len(text) for text in texts), np.int64, len(texts))
    kinds = curve.get_column("kind").replace_strict({kind: i for i, kind in enumerate(KINDS)}, default=0).to_numpy()
    kept = np.minimum(lengths, N_PIECE_BYTES)
    columns = [
        leb128(kept),
        leb128(lengths - kept),
        leb128(kinds),
        leb128(np.maximum(view.sizes.n_occurrences, 0)),
        leb128(np.minimum(_left_lengths(curve, lengths, base), N_PIECE_BYTES) + 1),
        b"".join(text[:N_PIECE_BYTES] for text in texts),
    ]
    return pack({"n": curve.height, "kinds": KINDS}, columns)


def _left_lengths(curve: pl.DataFrame, lengths: Integers, base: Tokenizer | None) -> Integers:
    """Bytes of each token's left part; -1 where the base, which alone knows its own pieces, is not at hand."""
    if base is None:
        return np.full(len(lengths), -1, np.int64)
    left, values = curve.get_column("left").cast(pl.Int64).to_numpy(), base.byte_values
    # A byte piece stands for one byte of text.
    own = np.array([1 if values[i] >= 0 else len(text) for i, text in enumerate(base.pieces)], np.int64)
    by_id = np.concatenate([own, lengths])
    is_known = (left >= 0) & (left < len(by_id))
    return np.where(is_known, by_id[np.where(is_known, left, 0)], -1)


def samples_pack(view: View, samples: Mapping[str, Sequence[str]] | None) -> bytes | None:
    """Sample sentences of each text set, in the page's order; None where there are none."""
    shown = [
        {"set": number, "texts": [text[:N_SAMPLE_CHARS] for text in texts[:N_SAMPLES]]}
        for number, text_set in enumerate(view.sets)
        if (texts := (samples or {}).get(text_set.name))
    ]
    return pack({"samples": shown}) if shown else None
