"""The record of a base tokenizer that can be grown. Two families can, by merges, without touching other text:

sentencepiece-bpe   BPE over characters, spaces written as ▁, unknown characters spelled in byte pieces
                    (Mistral, Llama 2)
byte-level-bpe      BPE over the bytes of pre-tokens, each byte written as one printable character
                    (GPT-2, Qwen, Llama 3)
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from vocabopt.tokenizer.families import Family, Prefix, byte_of_char, char_of_byte, missing_bytes, steps_of
from vocabopt.tokenizer.model_merges import frozen_ids
from vocabopt.tokenizer.pipeline import (
    added_token,
    counting_tokenizer,
    fast_tokenizer,
    isolated_symbols,
    without_batch_settings,
)
from vocabopt.tokenizer.sentencepiece_model import SPACE_SYMBOL, read_model

OriginalKind = Literal["sentencepiece", "tiktoken", "tekken"]


@dataclass(frozen=True, kw_only=True)
class Original:
    """A file in which the base's publisher wrote the same tokenizer, and in which a merged one is written as well."""

    kind: OriginalKind
    file_name: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base tokenizer that can be grown.

    source, pattern, specials: what `load_base` loads it from again: a built-in name, an absolute path or a hub id, and
    for rank files what says their split pattern and special tokens. originals: the publisher's own files beside or
    instead of tokenizer.json. is_from_ranks: read from a tiktoken rank file; is_from_model: from a SentencePiece model.
    model_config: the config.json beside it, where a folder was given that has one.
    `pieces[id]` are the bytes of text a token stands for (▁ as a space); empty for special tokens, for byte tokens of
    the SentencePiece family, and for what no text of a byte-level base can become (`_reaches_no_text`).
    `byte_values[id]` is the byte a byte-fallback piece spells, -1 for all other pieces.
    """

    name: str
    family: Family
    source: str
    sha256: str
    tokenizer_json: Mapping[str, Any]
    companions: Mapping[str, bytes] = field(default_factory=dict)
    originals: tuple[Original, ...] = ()
    pattern: str | None = None
    specials: str | None = None
    special_names: Mapping[str, str] = field(default_factory=dict)
    model_n_rows: int | None = None
    model_config: Path | None = None
    is_from_ranks: bool = False
    is_from_model: bool = False
    prefix: Prefix
    prefix_unless_space: bool

    def as_record(self) -> dict[str, Any]:
        """Which base it is, and how to load it again."""
        names = ("name", "family", "source", "pattern", "specials", "sha256", "n_tokens")
        return {name: getattr(self, name) for name in names}

    @functools.cached_property
    def full(self) -> Tokenizer:
        """The tokenizer as loaded, without truncation and padding: the authority every count is checked against."""
        return counting_tokenizer(self.tokenizer_json)

    @functools.cached_property
    def n_tokens(self) -> int:
        """One more than the largest id, added tokens included: new ids start here."""
        vocab: dict[str, int] = self.tokenizer_json["model"]["vocab"]
        return max(*vocab.values(), *self.added_ids) + 1

    @functools.cached_property
    def added_contents(self) -> tuple[str, ...]:
        """Strings that tokenizer.json takes out of text before the model sees it (special and other added tokens)."""
        return tuple(token["content"] for token in self.tokenizer_json.get("added_tokens", []))

    @functools.cached_property
    def added_ids(self) -> frozenset[int]:
        return frozenset(token["id"] for token in self.tokenizer_json.get("added_tokens", []))

    @functools.cached_property
    def sentencepiece_model(self) -> bytes | None:
        """The same tokenizer as a SentencePiece model, where the base has one."""
        return next((original.data for original in self.originals if original.kind == "sentencepiece"), None)

    @functools.cached_property
    def frozen_ids(self) -> frozenset[int]:
        """Tokens that no merge may take, as sentencepiece merges them with nothing: user-defined and unused pieces."""
        isolated = frozenset(self.tokenizer_json["model"]["vocab"][symbol] for symbol in self.isolated)
        return isolated | (
            frozen_ids(read_model(self.sentencepiece_model)) if self.sentencepiece_model else frozenset()
        )

    @functools.cached_property
    def isolated(self) -> tuple[str, ...]:
        """User-defined symbols that the pre-tokenizer cuts out of text, since added tokens could not do it exactly."""
        return isolated_symbols(self.tokenizer_json) if self.family == "sentencepiece-bpe" else ()

    @functools.cached_property
    def byte_values(self) -> list[int]:
        values = [-1] * self.n_tokens
        if self.family == "sentencepiece-bpe":
            for piece, index in self.tokenizer_json["model"]["vocab"].items():
                if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
                    values[index] = int(piece[3:5], 16)
        return values

    @functools.cached_property
    def pieces(self) -> list[bytes]:
        pieces = [b""] * self.n_tokens
        for piece, index in self.tokenizer_json["model"]["vocab"].items():
            if index in self.added_ids or self.byte_values[index] >= 0 or self._reaches_no_text(piece):
                continue
            pieces[index] = self.piece_bytes(piece)
        return pieces

    def _reaches_no_text(self, piece: str) -> bool:
        """Whether a piece of a byte-level base stands for no text: one with a character that is no byte's, as no merge
        leads to it; or the one that stands for bytes which the vocabulary lacks.
        """
        if self.family == "sentencepiece-bpe":
            return False
        is_unknown = bool(self.missing_bytes) and piece == self.tokenizer_json["model"].get("unk_token")
        return is_unknown or not byte_of_char().keys() >= set(piece)

    @functools.cached_property
    def missing_bytes(self) -> bytes:
        """Bytes of UTF-8 text that a byte-level base has no token for.

        `tokenizers` leaves them out, or gives the model's unknown token for them; no decoder brings them back.
        """
        return b"" if self.family == "sentencepiece-bpe" else missing_bytes(self.tokenizer_json["model"]["vocab"])

    @functools.cached_property
    def cuts_bytes(self) -> bool:
        """Whether text is cut again after ByteLevel wrote its bytes, so that a cut may fall inside a character."""
        steps = steps_of(self.tokenizer_json.get("pre_tokenizer"), "pretokenizers")
        return self.family == "byte-level-bpe" and steps[-1]["type"] != "ByteLevel"

    def piece_bytes(self, piece: str) -> bytes:
        """The bytes of text that a piece, spelled as in tokenizer.json, stands for."""
        if self.family == "sentencepiece-bpe":
            return piece.replace(SPACE_SYMBOL, " ").encode()
        return bytes(byte_of_char()[char] for char in piece)

    def piece_string(self, data: bytes) -> str:
        """The inverse of `piece_bytes`: how tokenizer.json spells the piece that stands for `data`."""
        if self.family == "sentencepiece-bpe":
            return data.decode().replace(" ", SPACE_SYMBOL)
        return "".join(char_of_byte()[byte] for byte in data)

    @functools.cached_property
    def chunk_json(self) -> dict[str, Any]:
        """tokenizer.json reduced to what happens inside one chunk of text: no added tokens, no prefix, no splitting.

        Chunks of the byte-level family are pre-tokens, normalised already; where bytes are cut, spelled as in
        tokenizer.json.
        """
        spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
        to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        is_sentencepiece = self.family == "sentencepiece-bpe"
        model = self.tokenizer_json["model"]
        vocab = model["vocab"]
        return {
            **without_batch_settings(self.tokenizer_json),
            # Inside a chunk nothing is put before the text, so that here added tokens do what the pre-tokenizer does.
            "added_tokens": [
                {
                    **added_token(vocab[symbol], symbol, special=False),
                    "normalized": SPACE_SYMBOL in "".join(self.isolated),
                }
                for symbol in self.isolated
            ],
            "model": {**model, "ignore_merges": False} if self.isolated else model,
            "normalizer": spaces if is_sentencepiece else None,
            "pre_tokenizer": None if is_sentencepiece or self.cuts_bytes else to_bytes,
            "post_processor": None,
        }

    @functools.cached_property
    def chunk_tokenizer(self) -> Tokenizer:
        """The `tokenizers` encoder of single chunks."""
        return counting_tokenizer(self.chunk_json)

    @functools.cached_property
    def merging_tokenizer(self) -> Tokenizer:
        """An encoder of pieces as tokenizer.json spells them, by merges alone: nothing is normalised or split."""
        model = {**self.chunk_json["model"], "ignore_merges": False}
        nothing = dict.fromkeys(("normalizer", "pre_tokenizer"))
        return counting_tokenizer(self.chunk_json, added_tokens=[], model=model, **nothing)

    @functools.cached_property
    def whole_chunk_tokenizer(self) -> Tokenizer:
        """The `tokenizers` encoder of chunks that are not yet cut into pre-tokens."""
        return self.chunk_tokenizer if self.family == "sentencepiece-bpe" else counting_tokenizer(self.fast_json)

    @functools.cached_property
    def fast_chunk_tokenizer(self) -> Any:
        """The gigatoken encoder of single chunks; None where it is not installed or does not know this tokenizer.

        It is compared on a sample of the chunks (`ChunkEncoder`), which seldom holds a byte that a base lacks.
        """
        if self.missing_bytes or self.cuts_bytes:
            return None
        return fast_tokenizer(self.fast_json)

    @functools.cached_property
    def fast_json(self) -> dict[str, Any]:
        """The same for gigatoken, which knows whole pipelines only: a byte-level one keeps its split pattern.

        A pre-token is not split again: an alternative that could match a part of it would have matched in context.
        """
        if self.family == "sentencepiece-bpe":
            return self.chunk_json
        kept = {key: self.tokenizer_json[key] for key in ("normalizer", "pre_tokenizer")}
        return {**self.chunk_json, **kept}
