"""Which rows of a base are freed, and in which order: text as the kernel takes it, and the kernel's answer proved.

The order is found on the base alone, without the new pieces: so it is one nested list, whatever the size. What a size
costs in the end is counted with the tokenizer that is written (run.py).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.grow import run_watched
from vocabopt.swap import kernel
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chat_templates import prompts
from vocabopt.tokenizer.chunks import ChunkEncoder, batches
from vocabopt.tokenizer.families import spelled
from vocabopt.tokenizer.sentencepiece_model import NORMAL, SPACE_SYMBOL, read_model

#: What a token of a text with weight 1 costs, times the tokens of that text: shares are counted in these parts.
COST_SCALE = 10**12
_N_CODE_POINTS = 0x110000


@dataclass(frozen=True, kw_only=True)
class Freed:
    """Rows in the order in which they are freed, and what each costs as it goes (COST_SCALE).

    n_odd_units: different units whose tokens are not what the base's merges make of them; their tokens all stay.
    """

    ids: NDArray[np.int64]
    costs: NDArray[np.int64]
    n_odd_units: int


def may_be_freed(base: Tokenizer, used: Iterable[int] = ()) -> NDArray[np.bool_]:
    """Of each id of the base, whether its row may be freed at all: bool [n_tokens].

    Special, control, unknown, user-defined, unused and byte pieces stay, and those of a single byte, so that any text
    can still be written; and those that are `used`.
    """
    may = np.array([len(piece) > 1 for piece in base.pieces])
    may[[index for index in base.added if index < len(may)]] = False
    may[[*base.frozen_ids]] = False
    may[[index for index in used if index < len(may)]] = False
    if (unknown := base.tokenizer_json["model"].get("unk_token")) is not None:
        may[base.tokenizer_json["model"]["vocab"][unknown]] = False
    if base.sentencepiece_model is not None:
        pieces = read_model(base.sentencepiece_model).pieces
        may[[index for index, piece in enumerate(pieces) if piece.type != NORMAL]] = False
    return may


def used_by(curve: pl.DataFrame, n_added: int) -> set[int]:
    """Ids from which the first pieces of a growth curve are made, and those of the base's pieces that they open.

    With what these are built of, which is never freed before them, it is all that the base's merges make of the pieces'
    text. So that stays as it is, and each piece has the one split that the curve says.
    """
    rows = curve.head(n_added)
    opened = [index for merges in rows["opened"].to_list() for merge in merges for index in merge]
    return {index for index in (*rows["left"], *rows["right"], *opened) if index >= 0}


def used_by_prompts(base: Tokenizer) -> set[int]:
    """Tokens of what the base's chat templates make, so that prompts stay as models know them."""
    texts = prompts(base)
    return {
        index for encoding in base.full.encode_batch_fast(texts, add_special_tokens=False) for index in encoding.ids
    }


def free(
    base: Tokenizer,
    counts: ChunkCounts,
    weight: NDArray[np.int64],
    may_go: NDArray[np.bool_],
    n_wanted: int,
    advance: Callable[[int], None] = lambda n_rows: None,
) -> Freed:
    """Find up to `n_wanted` rows to free, the cheapest first.

    Args:
        counts: what merges never leave: chunks, or the pre-tokens of a byte-level base.
        weight: int64 [n_chunks], what a token more in each costs.
        may_go: bool [n_tokens], rows that may be freed.
    """
    texts, weights = units_of(base, counts, weight)
    table = merge_table(base)
    codes, ends = _codes(base, texts)
    symbols, width, width_without = _as_symbols(base, codes, ends)
    n_rows, n_units = len(width), len(texts)
    starts = np.concatenate([[0], ends - np.arange(n_units)])
    n_most = np.add.reduceat(np.maximum(width, width_without)[symbols], starts[:-1]) if n_units else width[:0]
    units = kernel.Units(
        symbols=symbols,
        starts=starts,
        whole=_whole(base, texts),
        weights=weights,
        n_most=n_most.astype(np.int32),
        tokens=np.empty(len(symbols), np.int32),
        n_tokens=np.zeros(n_units, np.int32),
        n_symbols=np.zeros(n_units, np.int32),
    )
    n_parts = np.bincount(np.concatenate([table.left, table.right]), minlength=n_rows)
    rows = kernel.Rows(
        width=width,
        width_without=width_without,
        is_freed=np.zeros(n_rows, np.bool_),
        is_candidate=np.zeros(n_rows, np.bool_),
        n_parts=n_parts,
        can_go=np.concatenate([may_go, np.zeros(n_rows - len(may_go), np.bool_)]),
        bound=np.zeros(n_rows, np.int64),
        is_exact=np.zeros(n_rows, np.bool_),
        version=np.zeros(n_rows, np.int64),
    )
    longest = int(np.diff(starts).max(initial=1))
    scratch = kernel.Scratch(
        out=np.empty(longest + 1, np.int32),
        after=np.empty(longest + 1, np.int32),
        before=np.empty(longest + 1, np.int32),
        rank_at=np.empty(longest + 1, np.int32),
        heap=np.empty(4 * longest + 4, np.int64),
        met_unit=np.zeros(n_units, np.int64),
        met_row=np.zeros(n_rows, np.int64),
        sums=np.zeros(n_rows, np.int64),
        touched=np.empty(n_rows, np.int32),
    )
    kernel.encode_all(units, table, rows, scratch)
    is_odd = _leave_out_odd(base, texts, units, rows)
    freed, costs, progress = np.empty(n_wanted, np.int64), np.empty(n_wanted, np.int64), np.zeros(2, np.int64)
    arguments = n_wanted, units, table, rows, scratch, freed, costs, progress
    n_freed = int(run_watched(kernel.free_rows, arguments, progress, advance))
    return Freed(ids=freed[:n_freed], costs=costs[:n_freed], n_odd_units=int(is_odd.sum()))


# --- Text -------------------------------------------------------------------------------------------------------------


def units_of(base: Tokenizer, counts: ChunkCounts, weight: NDArray[np.int64]) -> tuple[pl.Series, NDArray[np.int64]]:
    """Different pieces of text that the base encodes apart, and the weight of each [n_units]; without those of none.

    Chunks of a SentencePiece-style base are cut further, where no piece that merges make holds the two characters: no
    merge crosses such a place. So a chunk that is a whole document is no long unit, and Korean falls into few.
    """
    chosen = weight > 0
    texts, weights = counts.texts().filter(chosen), weight[chosen]
    if base.family == "sentencepiece-bpe" and len(texts):
        codes = _code_points("\0".join(texts).replace(" ", SPACE_SYMBOL))
        merges = base.tokenizer_json["model"]["merges"]
        made = _pairs(_code_points("\0".join(left + right for left, right in merges)))
        # A pair with the NUL between two chunks is in no piece.
        pairs = _pairs(codes)
        is_cut = ~np.isin(pairs, np.unique(made)) & (codes[:-1] != 0) & (codes[1:] != 0)
        cut = np.insert(codes, np.flatnonzero(is_cut) + 1, 0)
        n_units = np.ones(len(texts), np.int64)
        n_units += np.bincount(np.cumsum(codes == 0)[:-1][is_cut], minlength=len(texts))
        texts = pl.Series(cut.tobytes().decode("utf-32-le").split("\0"))
        weights = np.repeat(weights, n_units)
    table = pl.DataFrame({"text": texts, "weight": weights}).group_by("text").agg(pl.col("weight").sum()).sort("text")
    return table["text"], table["weight"].to_numpy().copy()


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _pairs(codes: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Every two neighbours as one number."""
    return codes[:-1].astype(np.uint64) << np.uint64(32) | codes[1:].astype(np.uint64)


def _codes(base: Tokenizer, texts: pl.Series) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Units as numbers, each followed by 0: code points, or the bytes of a byte-level base; and where each ends."""
    joined = "\0".join([*texts, ""])
    is_bytes = base.family == "byte-level-bpe" and not base.cuts_bytes
    codes = np.frombuffer(joined.encode(), np.uint8).astype(np.uint32) if is_bytes else _code_points(joined)
    return codes, np.flatnonzero(codes == 0)


def _as_symbols(
    base: Tokenizer, codes: NDArray[np.uint32], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Units as symbols without anything between them; and of every symbol its tokens, now and once it is freed.

    Symbols are the ids of the base, and behind them the characters that it has no piece for.
    """
    of_code = np.full(_N_CODE_POINTS, -1, np.int32)
    is_bytes = base.family == "byte-level-bpe" and not base.cuts_bytes
    for index, piece in base.spelling.items():
        if len(piece) == 1 and base.pieces[index]:
            of_code[base.pieces[index][0] if is_bytes else ord(piece)] = index
    plain = np.delete(codes, ends)
    closed = np.unique(plain[of_code[plain] < 0])
    of_code[closed] = base.n_tokens + np.arange(len(closed))
    width = np.ones(base.n_tokens + len(closed), np.int32)
    width_without = np.array([*map(len, base.pieces), *(len(closed) * [0])], np.int32)
    if not is_bytes:
        width[base.n_tokens :] = [len(chr(code).encode()) for code in closed]
    width_without[base.n_tokens :] = width[base.n_tokens :]
    return of_code[plain], width, np.maximum(width_without, 1)


def _whole(base: Tokenizer, texts: pl.Series) -> NDArray[np.int32]:
    """Of each unit the piece that it is as a whole, where the base looks for those before it merges; else -1."""
    if base.family != "byte-level-bpe" or not base.tokenizer_json["model"].get("ignore_merges"):
        return np.full(len(texts), -1, np.int32)
    vocab = base.tokenizer_json["model"]["vocab"]
    spelling = (text if base.cuts_bytes else spelled(text.encode()) for text in texts)
    return np.array([vocab.get(piece, -1) for piece in spelling], np.int32)


def merge_table(base: Tokenizer) -> kernel.MergeTable:
    """The merges of a base as the kernel takes them."""
    vocab, merges = base.tokenizer_json["model"]["vocab"], base.tokenizer_json["model"]["merges"]
    ids = [(vocab[left], vocab[right], vocab[left + right]) for left, right in merges]
    left, right, made = (column.copy() for column in np.array(ids, np.int32).reshape(-1, 3).T)
    n_places = 1 << max(4, (2 * len(ids)).bit_length())
    keys, ranks = np.full(n_places, -1, np.int64), np.zeros(n_places, np.int32)
    kernel.fill_table(left, right, keys, ranks)
    return kernel.MergeTable(
        keys=keys,
        ranks=ranks,
        left=left,
        right=right,
        made=made,
        first_of=np.searchsorted(np.sort(made), np.arange(base.n_tokens + 1)),
        of_made=np.argsort(made, kind="stable"),
    )


# --- Proof of the kernel ----------------------------------------------------------------------------------------------


def _leave_out_odd(base: Tokenizer, texts: pl.Series, units: kernel.Units, rows: kernel.Rows) -> NDArray[np.bool_]:
    """Compare every unit with what the base's own encoder makes of it: bool [n_units], those that differ.

    They are given no weight, and their tokens stay. User-defined symbols inside text are such units.
    """
    if not len(texts):
        return np.zeros(0, np.bool_)
    counts = ChunkCounts.of_texts(texts.to_list())
    encoder = ChunkEncoder.of(base.chunk_tokenizer, base.fast_chunk_tokenizer, counts)
    parts = [encoder.encode(data) for data in batches(counts)]
    ids, lengths = (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([np.diff(e, prepend=0) for _, e in parts]),
    )
    is_odd: NDArray[np.bool_] = lengths != units.n_tokens
    # Ids beside the byte pieces, and symbols beside the characters spelled in them.
    byte_values = np.array(base.byte_values)
    of_ids = np.repeat(np.arange(len(texts)), lengths)
    plain = byte_values[ids] < 0
    place = np.arange(len(units.tokens)) - np.repeat(units.starts[:-1], np.diff(units.starts))
    is_token = place < np.repeat(units.n_symbols, np.diff(units.starts))
    tokens, of_tokens = units.tokens[is_token], np.repeat(np.arange(len(texts)), units.n_symbols)
    known = tokens < base.n_tokens
    n_plain = np.bincount(of_ids[plain], minlength=len(texts))
    is_odd |= n_plain != np.bincount(of_tokens[known], minlength=len(texts))
    ours, theirs = known & ~is_odd[of_tokens], plain & ~is_odd[of_ids]
    is_odd[of_tokens[ours][tokens[ours] != ids[theirs]]] = True
    units.weights[is_odd] = 0
    rows.can_go[ids[is_odd[of_ids]]] = False
    return is_odd
