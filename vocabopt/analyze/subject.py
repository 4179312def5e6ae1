"""A tokenizer as the measures see it: what encodes, and what each of its ids is."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocabopt.errors import BaseTokenizerError
from vocabopt.verify.encoders import Encoder, Kind
from vocabopt.verify.load import load_side
from vocabopt.verify.sides import Side

Booleans = NDArray[np.bool_]

_KINDS: tuple[Kind, ...] = ("tokenizer.json", "tokenizer.model", "tekken.json", "tiktoken")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A tokenizer under a name of the user's."""

    name: str
    side: Side
    encoder: Encoder

    @property
    def n_tokens(self) -> int:
        """|V|: one more than the largest id."""
        return self.side.n_tokens

    @functools.cached_property
    def bytes_of(self) -> list[bytes | None]:
        """Id -> bytes of text it stands for, of a byte piece the byte; None for added tokens and ids not in use."""
        found: list[bytes | None] = [None] * self.n_tokens
        for index, data in self.side.texts.items():
            found[index] = data
        for index in np.flatnonzero(self.is_byte_piece).tolist():
            found[index] = bytes([int(self.side.spelling[index][3:5], 16)])
        return found

    @functools.cached_property
    def is_byte_piece(self) -> Booleans:
        """Which ids are byte pieces, spelled <0x00> to <0xFF>."""
        found = np.zeros(self.n_tokens, bool)
        for byte in range(256):
            index = self.side.vocab.get(f"<0x{byte:02X}>")
            if index is not None and index not in self.side.texts and index not in self.side.added:
                found[index] = True
        return found

    @functools.cached_property
    def unknown_id(self) -> int | None:
        """The id of what cannot be spelled; None where everything can."""
        model = self.side.vocabulary_json["model"]
        name = model.get("unk_token")
        index = self.side.vocab.get(name) if isinstance(name, str) else model.get("unk_id")
        return index if isinstance(index, int) else None

    @functools.cached_property
    def is_fallback(self) -> Booleans:
        """Which ids spell one byte of a longer character: byte pieces, and in byte-level vocabularies single bytes."""
        return np.array([data is not None and len(data) == 1 and data[0] >= 0x80 for data in self.bytes_of], bool)

    @functools.cached_property
    def is_cut(self) -> Booleans:
        """Which ids begin or end inside a character."""
        return np.array([data is not None and not _is_whole(data) for data in self.bytes_of], bool)

    @functools.cached_property
    def is_text(self) -> Booleans:
        """Which ids stand for text: not added tokens, and in use."""
        return np.array([data is not None for data in self.bytes_of], bool)

    @functools.cached_property
    def n_near_duplicates(self) -> int:
        """Tokens, byte pieces aside, that another equals but for spaces around it, case and compatibility forms (NFKC)."""
        keys = [
            unicodedata.normalize("NFKC", data.decode()).strip().casefold()
            for data, is_byte in zip(self.bytes_of, self.is_byte_piece, strict=True)
            if data is not None and not is_byte and _is_whole(data)
        ]
        return sum(n for key, n in Counter(keys).items() if n > 1 and key)

    @functools.cached_property
    def word_encoder(self) -> Encoder:
        """What encodes a word as it stands inside a text: with the space before it, and nothing else."""
        for kind in _KINDS:
            if kind in self.side.bare:
                return self.side.bare[kind]
        return self.encoder

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Ids of each word inside a text, its space included."""
        return self.word_encoder.encode([f" {word}" for word in words])

    def n_single_tokens(self, texts: Sequence[str]) -> int:
        """How many of the texts are one token by themselves, inside a word."""
        return sum(self.is_one_token(ids) for ids in self.word_encoder.encode(list(texts)))

    def is_one_token(self, ids: Sequence[int]) -> bool:
        """Whether these are one token, and not the one for what cannot be spelled."""
        return len(ids) == 1 and ids[0] != self.unknown_id


def load_subject(name: str, value: str, *, pattern: str | None, specials: str | None) -> Subject:
    """Load a tokenizer of any kind that `verify` reads.

    Raises:
        BaseTokenizerError: not found, unreadable, or nothing here can encode with it.
    """
    side = load_side(value, pattern=pattern, specials=specials)
    encoder = next((side.encoders[kind] for kind in _KINDS if kind in side.encoders), None)
    if encoder is None:
        missing = ", ".join(sorted(set(side.missing.values())))
        raise BaseTokenizerError(f"{value}: nothing here encodes with it. Install {missing or 'its own library'}.")
    return Subject(name=name, side=side, encoder=encoder)


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
