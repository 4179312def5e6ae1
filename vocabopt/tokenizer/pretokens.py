"""Chunks -> pre-tokens, for byte-level bases: the unit that their merges never leave."""

from array import array
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from tokenizers.pre_tokenizers import PreTokenizer

from vocabopt.growth.counts import ChunkCounts
from vocabopt.tokenizer import Base
from vocabopt.tokenizer.families import steps_of
from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.tokenizer.pipeline import bpe_model, counting_tokenizer

_BATCH_CHUNKS = 50_000


def split_pretokens(base: Base, chunks: list[str]) -> Iterator[list[str]]:
    """Cut chunks of text into the (normalised) pre-tokens of a byte-level base: as text, or where cuts may fall inside
    characters (`Base.cuts_bytes`) as tokenizer.json spells their bytes.
    """
    normalizer, splitter = base.full.normalizer, _splitter(base)
    for chunk in chunks:
        text = normalizer.normalize_str(chunk) if normalizer is not None else chunk
        yield [piece for piece, _ in splitter.pre_tokenize_str(text)]


def _splitter(base: Base) -> PreTokenizer:
    """The base's pre-tokenizer; ByteLevel, where it is the last step, without writing bytes as printable characters."""
    steps = steps_of(base.tokenizer_json["pre_tokenizer"], "pretokenizers")
    splits = [{**step, "add_prefix_space": False} if step["type"] == "ByteLevel" else step for step in steps]
    if not base.cuts_bytes and splits.pop().get("use_regex", True):
        splits.append({"type": "Split", "pattern": {"Regex": GPT2_PATTERN}, "behavior": "Isolated", "invert": False})
    pre_tokenizer: PreTokenizer = counting_tokenizer(
        base.chunk_json, pre_tokenizer={"type": "Sequence", "pretokenizers": splits}, model=bpe_model({}, [])
    ).pre_tokenizer
    return pre_tokenizer


def refine(base: Base, counts: ChunkCounts, advance: Callable[[int], None] = lambda n_chunks: None) -> ChunkCounts:
    """Chunk counts -> pre-token counts, for a byte-level base: the unit that its merges never leave.

    Args:
        advance: told the number of chunks done at each step, for a progress bar.
    """
    number_of: dict[str, int] = {}
    chunk_of_piece, pieces = array("q"), array("q")
    texts = counts.texts()
    for first in range(0, counts.n_chunks, _BATCH_CHUNKS):
        batch = texts[first : first + _BATCH_CHUNKS].to_list()
        for chunk, split in enumerate(split_pretokens(base, batch), first):
            for piece in split:
                pieces.append(number_of.setdefault(piece, len(number_of)))
                chunk_of_piece.append(chunk)
        advance(len(batch))
    entries = pl.DataFrame(
        {
            "chunk": np.repeat(np.arange(counts.n_chunks), np.diff(counts.offsets)),
            "group": counts.groups,
            "n": counts.counts,
        }
    )
    pairs = pl.DataFrame({"chunk": np.frombuffer(chunk_of_piece, np.int64), "piece": np.frombuffer(pieces, np.int64)})
    totals = (
        pairs.lazy()
        .join(entries.lazy(), on="chunk")
        .group_by("piece", "group")
        .agg(pl.col("n").sum())
        .sort("piece", "group")
        .collect()
    )
    text = np.frombuffer("\0".join([*number_of, ""]).encode(), np.uint8)
    return ChunkCounts(
        sets=counts.sets,
        text=text,
        ends=np.flatnonzero(text == 0),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(totals["piece"].to_numpy(), minlength=len(number_of)))]),
        groups=totals["group"].to_numpy().astype(np.int32),
        counts=totals["n"].to_numpy(),
    )
