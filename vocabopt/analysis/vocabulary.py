"""What is known of each token of a vocabulary before any text is seen, and which tokens nearly say the same."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.analysis.record import NearDuplicates
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.sentencepiece_model import read_model

Bools = NDArray[np.bool_]

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_SP_UNKNOWN = 2


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tables by id, up to the largest id.

    n_tokens: tokens in the vocabulary, special ones included. texts: id -> bytes of text, of plain tokens.
    n_bytes: int64, their length. is_plain: in the vocabulary and no added token; the others are never counted as
    unused. is_added: a special or other added token, taken out of text as it stands. is_unknown: the token of what the
    vocabulary cannot spell. is_cut: begins or ends inside a UTF-8 character. begins_inside: begins there.
    is_byte: spells what the vocabulary has no piece for, by family:

        byte pieces   <0x00> to <0xFF> (Llama 2, Mistral): the token is one of these
        byte-level    (GPT-2, Llama 3, Qwen): the token's bytes are no whole characters
        neither       (T5, BERT): None; such text becomes the unknown token
    """

    n_tokens: int
    texts: Mapping[int, bytes]
    n_bytes: NDArray[np.int64]
    is_plain: Bools
    is_added: Bools
    is_unknown: Bools
    is_cut: Bools
    begins_inside: Bools
    is_byte: Bools | None

    @property
    def n_plain(self) -> int:
        """Tokens that text can be expected to give: all but added ones."""
        return int(self.is_plain.sum())

    @classmethod
    def of(cls, side: Tokenizer) -> "Vocabulary":
        vocab, added = side.vocab, set(side.added_contents)
        n_ids = max(vocab.values(), default=-1) + 1
        byte_pieces = (
            {} if side.is_byte_level else {i: m for piece, i in vocab.items() if (m := _BYTE_PIECE.fullmatch(piece))}
        )
        prefix = side.tokenizer_json["model"].get("continuing_subword_prefix") or ""
        texts = {
            index: bytes.fromhex(byte_pieces[index][1])
            if index in byte_pieces
            else side.text_of(piece.removeprefix(prefix))
            for piece, index in vocab.items()
            if piece not in added
        }
        # Of added tokens too: merges can also make what is an added token elsewhere in the text.
        lengths = np.zeros(n_ids, np.int64)
        for piece, index in vocab.items():
            lengths[index] = len(texts[index] if index in texts else side.text_of(piece))
        is_byte = _marks(byte_pieces, n_ids) if byte_pieces else None
        is_cut = _marks((index for index, text in texts.items() if not _is_whole(text)), n_ids)
        return cls(
            n_tokens=len(vocab),
            texts=texts,
            n_bytes=lengths,
            is_plain=_marks(texts, n_ids),
            is_added=_marks((index for piece, index in vocab.items() if piece in added), n_ids),
            is_unknown=_marks(_unknown(side, vocab), n_ids),
            is_cut=is_cut,
            begins_inside=_marks((i for i, text in texts.items() if text and text[0] & 0xC0 == 0x80), n_ids),
            is_byte=is_cut if side.is_byte_level else is_byte,
        )


def _marks(ids: Iterable[int], n_ids: int) -> Bools:
    marks = np.zeros(n_ids, np.bool_)
    marks[np.fromiter(ids, np.int64)] = True
    return marks


def _unknown(side: Tokenizer, vocab: Mapping[str, int]) -> list[int]:
    model: Mapping[str, Any] = side.tokenizer_json["model"]
    if not side.encodes_as_json:
        pieces = read_model(side.forms["tokenizer.model"]).pieces
        return [index for index, piece in enumerate(pieces) if piece.type == _SP_UNKNOWN]
    if model.get("unk_id") is not None:
        return [int(model["unk_id"])]
    return [vocab[model["unk_token"]]] if model.get("unk_token") in vocab else []


def _is_whole(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- Near-duplicates -------------------------------------------------------------------------------------------------


def near_duplicates(vocabulary: Vocabulary) -> NearDuplicates:
    """Tokens that another token equals apart from one leading space, case, or Unicode normalisation (NFKC).

    Only plain tokens whose text is whole characters and not white space alone are compared, byte pieces excepted.
    """
    left_out = vocabulary.is_cut if vocabulary.is_byte is None else vocabulary.is_cut | vocabulary.is_byte
    texts = sorted({data.decode() for index, data in vocabulary.texts.items() if not left_out[index] and data.strip()})
    texts = [text for text in texts if text.strip()]
    n_alike, n_groups = _shared(texts, lambda text: _folded(_without_space(text)))
    return NearDuplicates(
        n_near_duplicates=n_alike,
        n_groups=n_groups,
        n_by_space=_shared(texts, _without_space)[0],
        n_by_case=_shared(texts, str.casefold)[0],
        n_by_normalisation=_shared(texts, lambda text: unicodedata.normalize("NFKC", text))[0],
    )


def _without_space(text: str) -> str:
    return text.removeprefix(" ")


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Folding can undo the normal form: twice, as Unicode's own caseless match does.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _shared(texts: list[str], key: Callable[[str], str]) -> tuple[int, int]:
    """How many texts share their key with another, and how many such keys there are."""
    sizes = [size for size in Counter(map(key, texts)).values() if size > 1]
    return sum(sizes), len(sizes)
