"""Rank files of tiktoken (a line a token: base64 of its bytes, its rank), and the tokenizer.json that encodes alike.

tiktoken takes a pre-token that is a token as it is; otherwise it joins, among all neighbours whose bytes together are
a token, those of the lowest rank, leftmost first (openai/tiktoken, src/lib.rs, byte_pair_merge). So every split of a
token into two tokens is a merge of that token's rank, and `ignore_merges` is on. A rank file holds neither the split
pattern nor the special tokens: known.py has those that are published.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from vocabopt.errors import BaseTokenizerError
from vocabopt.tokenizer.families import char_of_byte
from vocabopt.tokenizer.pipeline import added_token, bos_first, bpe_model, tokenizer_json

#: The token of no bytes.
_NO_BYTES = b"="


def is_rank_file(data: bytes) -> bool:
    """Does it begin as a rank file does?"""
    return re.match(rb"[A-Za-z0-9+/=]+ \d+\r?\n", data[:200]) is not None


def parse_ranks(data: bytes, place: str) -> dict[bytes, int]:
    """Token -> rank, by rank.

    Raises:
        BaseTokenizerError: a line is neither blank nor base64 and a number, or a token or rank comes twice.
    """
    ranks: dict[bytes, int] = {}
    taken: set[int] = set()
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            # Whisper's file ends with an empty token, so written; every decoder of base64 reads it as no bytes.
            decoded = b"" if token == _NO_BYTES else binascii.a2b_base64(token, strict_mode=True)
            value = int(rank)
        except (ValueError, binascii.Error) as error:
            raise BaseTokenizerError(
                f"{place}, line {number}: {line[:60]!r} is not a token in base64 and its rank. Fetch the file again."
            ) from error
        if decoded in ranks or value in taken:
            raise BaseTokenizerError(f"{place}, line {number}: the token {decoded!r} or its rank {value} comes twice.")
        ranks[decoded] = value
        taken.add(value)
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def rank_file(ranks: Mapping[bytes, int]) -> bytes:
    """The inverse of `parse_ranks`."""
    return b"".join(b"%s %d\n" % (base64.b64encode(token) or _NO_BYTES, rank) for token, rank in ranks.items())


def merges_of_ranks(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every split of a token into two tokens, by the token's rank, then by those of its parts."""
    merges: list[tuple[bytes, bytes]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        # Loops and not generators: a vocabulary has 100,000 tokens, and this is most of loading it.
        splits = []
        for cut in range(1, len(token)):
            if (left := token[:cut]) in ranks and (right := token[cut:]) in ranks:
                splits.append((left, right))
        if len(splits) > 1:
            splits.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += splits
    return merges


def spelled(token: bytes) -> str:
    """The token in tokenizer.json's printable alphabet."""
    return token.decode("latin-1").translate(char_of_byte())


def byte_level_json(
    ranks: Mapping[bytes, int],
    specials: Mapping[str, int],
    *,
    pattern: str,
    normalizer: str | None = None,
    bos: str | None = None,
    first_id: int = 0,
) -> dict[str, Any]:
    """tokenizer.json of ranks: same ids as tiktoken gives for ordinary text.

    Args:
        specials: content -> id; they are added tokens, and in the vocabulary too, since the `tokenizers` library
            numbers anew what the vocabulary lacks.
        normalizer: a Unicode normal form that the publisher's code applies first.
        bos: the special token that documents begin with.
        first_id: id of rank 0.
    """
    spelling = {token: spelled(token) for token in ranks}
    vocab = {spelling[token]: first_id + rank for token, rank in ranks.items()}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return tokenizer_json(
        bpe_model(
            {**vocab, **specials},
            ((spelling[left], spelling[right]) for left, right in merges_of_ranks(ranks)),
            ignore_merges=True,
        ),
        [added_token(index, content, special=True) for content, index in specials.items()],
        normalizer=normalizer and {"type": normalizer},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]},
        post_processor=bos_first(bos, specials[bos]) if bos is not None else {**byte_level, "use_regex": True},
        decoder={**byte_level, "use_regex": True},
    )
