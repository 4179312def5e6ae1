"""The tokenizer of every size 0..max of a run, small enough to travel in the report, and the JavaScript that encodes.

A pack is gzip of a line of JSON and the sections that it names, each an array of numbers in LEB128:

    lengths, text      per id the bytes of its piece: of text in byte-level bases, of its spelling in UTF-8 in others;
                       none for pieces that text never gives, and for ids without a piece
    results, cuts      per merge in order of rank its id, less the one before (zigzag), and the length of its left part
    merges_of_row      how many merges each added token brings

A token's two parts are found by their bytes, so a merge costs two or three bits after gzip. The line of JSON holds the
pipeline (playground_pipeline) and the numbers of tokens.
"""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import PlaygroundError
from vocabopt.merge.extension import merges_by_row
from vocabopt.report.leb128 import differences, leb128
from vocabopt.report.playground_pipeline import describe
from vocabopt.text.utf8 import json_bytes
from vocabopt.tokenizer import Base
from vocabopt.tokenizer.families import byte_of_char

#: What the page's arrays are made for: ids and ranks together in the 53 bits of a JavaScript number.
_MOST_TOKENS = 1 << 21
_SCRIPTS = ("tokenizer_bpe.js", "tokenizer.js")


def engine_script() -> str:
    """The JavaScript that loads a pack and encodes with it: it defines VocaboptTokenizer, and VocaboptBpe below it."""
    folder = Path(__file__).parent / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)


def pack_tokenizer(base: Base, curve: pl.DataFrame) -> bytes:
    """What assets/tokenizer.js loads: every tokenizer that `vocabopt merge --size k` writes, 0 <= k <= len(curve), but
    for truncation and padding.

    Raises:
        PlaygroundError: the base has a part that the page cannot repeat exactly.
    """
    model = base.tokenizer_json["model"]
    n_tokens = base.n_tokens + len(curve)
    if n_tokens > _MOST_TOKENS:
        raise PlaygroundError(f"The tokenizer has {n_tokens:,} tokens; {_MOST_TOKENS:,} fit into the page.")
    is_byte_level = base.family == "byte-level-bpe"
    ids: dict[str, int] = dict(model["vocab"])
    for token in base.tokenizer_json.get("added_tokens", []):
        ids.setdefault(token["content"], token["id"])
    ids |= {piece: index for index, piece in enumerate(curve["piece"], base.n_tokens)}
    rows = merges_by_row(base, curve)
    merges = _last_of_each(model["merges"]) + [pair for row in rows for pair in row]
    if is_byte_level:
        alphabet = byte_of_char().keys()
        ids = {piece: index for piece, index in ids.items() if alphabet >= set(piece)}
        merges = [(left, right) for left, right in merges if left in ids and right in ids]
    if len(set(merges)) < len(merges):
        raise PlaygroundError("A merge of the base comes again among those of added tokens.")
    pieces = [""] * n_tokens
    for piece, index in ids.items():
        pieces[index] = piece
    texts, lengths = _texts(pieces, is_byte_level=is_byte_level)
    n_bytes = len if is_byte_level else lambda piece: len(piece.encode())
    sections = {
        "lengths": leb128(lengths),
        "text": texts,
        "results": differences(0, [ids[left + right] for left, right in merges]),
        "cuts": leb128([n_bytes(left) for left, _ in merges]),
        "merges_of_row": leb128([len(row) for row in rows]),
    }
    head = {
        "family": base.family,
        "n_base_tokens": base.n_tokens,
        "n_added": len(curve),
        "n_merges": len(merges),
        "ignores_merges": bool(model.get("ignore_merges")),
        "byte_ids": None if is_byte_level else _byte_ids(base),
        **describe(base),
        "sections": {name: len(data) for name, data in sections.items()},
    }
    line = json_bytes(head, indent=None, separators=(",", ":"))
    # Level 9 takes five times as long as 6, for 0.8 % less.
    return gzip.compress(b"\n".join([line, b"".join(sections.values())]), compresslevel=6, mtime=0)


def _last_of_each(merges: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """The merges as pairs; of a pair that comes twice the last, which is the one that `tokenizers` keeps."""
    pairs = [(left, right) for left, right in merges]
    if len(set(pairs)) == len(pairs):
        return pairs
    return list(dict.fromkeys(reversed(pairs)))[::-1]


def _byte_ids(base: Base) -> list[int]:
    """Byte -> its token. An ASCII character that is a piece itself may have no other; some bytes are in no text."""
    ids = {byte: index for index, byte in enumerate(base.byte_values) if byte >= 0}
    vocab = base.tokenizer_json["model"]["vocab"]
    return [ids.get(byte, vocab.get(chr(byte), 0)) for byte in range(256)]


def _texts(pieces: Sequence[str], *, is_byte_level: bool) -> tuple[bytes, NDArray[np.int64]]:
    """The bytes of all pieces, and how many each has."""
    if is_byte_level:
        bytes_of = {ord(char): byte for char, byte in byte_of_char().items()}
        data = "".join(pieces).translate(bytes_of).encode("latin-1")
        return data, np.asarray([len(piece) for piece in pieces])
    encoded = [piece.encode() for piece in pieces]
    return b"".join(encoded), np.asarray([len(piece) for piece in encoded])
