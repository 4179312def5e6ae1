"""One of the two tokenizers: its vocabulary, files and encoders, also where it is of a kind that cannot be grown."""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from vocabopt.tokenizer import Base
from vocabopt.tokenizer.families import byte_of_char
from vocabopt.tokenizer.pipeline import counting_tokenizer
from vocabopt.tokenizer.sentencepiece_model import SPACE_SYMBOL, read_model
from vocabopt.verify.encoders import (
    Encoder,
    JsonEncoder,
    Kind,
    MissingLibrary,
    ModelEncoder,
    by_merges_alone,
    encoder_of,
    without_prefix,
)


@dataclass(frozen=True, kw_only=True)
class Side:
    """A tokenizer to be compared.

    folder: where it lies; None for a lone file or a built-in one. base: what `load_base` makes of it; None where it
    refuses. written: the form that tokenizer_json comes from. tokenizer_json: None where only sentencepiece can encode
    as the file says; `vocabulary_json` then still names its tokens. forms: the files of other forms, by kind.
    """

    name: str
    source: str
    sha256: str
    folder: Path | None
    base: Base | None
    refusal: str | None
    written: Kind
    vocabulary_json: Mapping[str, Any]
    encodes_as_json: bool = True
    forms: Mapping[Kind, bytes] = field(default_factory=dict)
    companions: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def tokenizer_json(self) -> Mapping[str, Any] | None:
        return self.vocabulary_json if self.encodes_as_json else None

    @functools.cached_property
    def full(self) -> Tokenizer | None:
        """The tokenizer as the `tokenizers` library has it, of text as long as it is."""
        if not self.encodes_as_json:
            return None
        return counting_tokenizer(self.vocabulary_json)

    @functools.cached_property
    def encoders(self) -> Mapping[Kind, Encoder]:
        """What encodes, by form; forms whose library is missing are in `missing`."""
        return self._loaded[0]

    @functools.cached_property
    def missing(self) -> Mapping[Kind, str]:
        """Forms that cannot be used, and the package that would read them."""
        return self._loaded[1]

    @functools.cached_property
    def _loaded(self) -> tuple[dict[Kind, Encoder], dict[Kind, str]]:
        encoders: dict[Kind, Encoder] = {}
        if self.full is not None:
            encoders["tokenizer.json"] = JsonEncoder(self.full, self.source)
        missing: dict[Kind, str] = {}
        for kind, data in self.forms.items():
            try:
                encoders[kind] = encoder_of(kind, data, self.tokenizer_json)
            except MissingLibrary as error:
                missing[kind] = str(error)
        return encoders, missing

    @functools.cached_property
    def bare(self) -> Mapping[Kind, Encoder]:
        """What encodes the text of single pieces, by form: the whole pipeline, but nothing is put before the text."""
        encoders: dict[Kind, Encoder] = {}
        if self.tokenizer_json is not None:
            encoders["tokenizer.json"] = without_prefix(self.tokenizer_json, self.source)
        if "tokenizer.model" in self.forms:
            encoders["tokenizer.model"] = ModelEncoder.of(self.forms["tokenizer.model"], prefix=False)
        return encoders

    @functools.cached_property
    def by_merges(self) -> Encoder | None:
        """What encodes pieces as they are spelled, by the merges of tokenizer.json alone; None without one of BPE."""
        if self.tokenizer_json is None or self.tokenizer_json["model"].get("type") != "BPE":
            return None
        return by_merges_alone(self.tokenizer_json, self.source)

    @functools.cached_property
    def vocab(self) -> Mapping[str, int]:
        """Piece as tokenizer.json spells it -> id, added tokens included, in the order of ids."""
        if self.full is not None:
            vocab = self.full.get_vocab(with_added_tokens=True)
        else:
            vocab = self.vocabulary_json["model"]["vocab"]
        return dict(sorted(vocab.items(), key=lambda item: (item[1], item[0])))

    @functools.cached_property
    def spelling(self) -> Mapping[int, str]:
        """Id -> piece."""
        return {index: piece for piece, index in self.vocab.items()}

    @functools.cached_property
    def n_tokens(self) -> int:
        """One more than the largest id."""
        return max(self.spelling, default=-1) + 1

    @functools.cached_property
    def added(self) -> Mapping[int, Mapping[str, Any]]:
        """Added tokens (special or not) by id, with their flags."""
        tokens = self.vocabulary_json.get("added_tokens", [])
        # The library numbers anew what the vocabulary lacks, so the ids are its own.
        return {self.vocab.get(token["content"], token["id"]): token for token in tokens}

    @functools.cached_property
    def model_pieces(self) -> frozenset[str]:
        """What the tokenizer.model knows, names of control pieces included; empty where there is none."""
        data = self.forms.get("tokenizer.model")
        return frozenset() if data is None else frozenset(piece.piece for piece in read_model(data).pieces)

    @functools.cached_property
    def is_byte_level(self) -> bool:
        parts = (self.vocabulary_json.get("pre_tokenizer"), self.vocabulary_json.get("decoder"))
        return any('"ByteLevel"' in json.dumps(part) for part in parts)

    @functools.cached_property
    def texts(self) -> Mapping[int, bytes]:
        """Id -> bytes of text that the piece stands for; not for added tokens, byte pieces and parts of words (##)."""
        model = self.vocabulary_json["model"]
        prefix = model.get("continuing_subword_prefix")
        return {
            index: self.text_of(piece)
            for index, piece in self.spelling.items()
            if index not in self.added
            and not (prefix and piece.startswith(prefix))
            and (self.is_byte_level or not re.fullmatch(r"<0x[0-9A-F]{2}>", piece))
        }

    def text_of(self, piece: str) -> bytes:
        """The bytes of text that a piece of the model stands for."""
        if not self.is_byte_level:
            return piece.replace(SPACE_SYMBOL, " ").encode()
        table = byte_of_char()
        return bytes(table[char] for char in piece) if table.keys() >= set(piece) else piece.encode()

    def show(self, ids: list[int]) -> str:
        """Ids as a reader can check them: each with its piece."""
        return " ".join(f"{index}:{self.spelling.get(index, '?')!r}" for index in ids)

    def as_record(self) -> dict[str, Any]:
        files = {kind: hashlib.sha256(data).hexdigest() for kind, data in self.forms.items()}
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "written": self.written,
            "forms": files,
            "n_tokens": self.n_tokens,
            "refusal": self.refusal,
        }
