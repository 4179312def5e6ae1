"""The record of a tokenizer: its vocabulary, the forms it is published in, what encodes with it, whether it can grow.

Two families can be grown by merges without touching other text:

sentencepiece-bpe   BPE over characters, spaces written as ▁, unknown characters spelled in byte pieces
                    (Mistral, Llama 2)
byte-level-bpe      BPE over the bytes of pre-tokens, each byte written as one printable character
                    (GPT-2, Qwen, Llama 3)
"""

import functools
import json
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from vocabopt.text.utf8 import json_value
from vocabopt.tokenizer.encoders import (
    Encoder,
    JsonEncoder,
    Kind,
    ModelEncoder,
    encoder_of,
    missing_package,
    without_prefix,
)
from vocabopt.tokenizer.families import Family, Prefix, bytes_spelled, decoded, missing_bytes, spelled, steps_of
from vocabopt.tokenizer.sentencepiece_model import SPACE_SYMBOL, UNUSED, USER_DEFINED, read_model
from vocabopt.tokenizer.tokenizer_json import (
    added_token,
    bpe_of,
    counting_tokenizer,
    fast_tokenizer,
    isolated_symbols,
    without_batch_settings,
)

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A file in which the publisher wrote the tokenizer, other than tokenizer.json.

    has_same_ids: all its tokens have the ids of tokenizer.json, so that a merged tokenizer is written in this form too.
    """

    kind: Kind
    file_name: str
    data: bytes
    has_same_ids: bool


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A tokenizer of any kind that something here can encode with.

    source, pattern, specials: what `load_tokenizer` loads it from again: a built-in name, an absolute path or a hub id;
        for rank files, what says their split pattern and special tokens.
    sha256: of the file it was read from, and of what that file leaves out.
    written: the form it was read from.
    tokenizer_json: the tokenizer as the `tokenizers` library has it; the one that counts.
    encodes_as_json: False for a SentencePiece model that no tokenizer.json encodes as; then only the vocabulary holds.
    has_ties: it is such a model, but for the order of pieces that share a score: tokenizer.json has one of its own,
        and is what is counted (`model_check.settled`).
    files: the publisher's other forms.
    folder: where it lies; None for a lone file or a built-in one.
    companions: tokenizer_config.json and the like, by their path in the folder.
    special_names: bos_token ... of a tokenizer that has no tokenizer_config.json.
    model_n_rows: rows of the embedding table as config.json of the folder states them, padding included.
    family, prefix, prefix_unless_space: how it can be grown (`families.recognise`); family None where it cannot.
    refusal: why it cannot be grown.
    """

    name: str
    source: str
    sha256: str
    written: Kind
    tokenizer_json: Mapping[str, Any]
    encodes_as_json: bool = True
    has_ties: bool = False
    files: tuple[Form, ...] = ()
    folder: Path | None = None
    companions: Mapping[str, bytes] = field(default_factory=dict)
    pattern: str | None = None
    specials: str | None = None
    special_names: Mapping[str, str] = field(default_factory=dict)
    model_n_rows: int | None = None
    family: Family | None = None
    prefix: Prefix = "never"
    prefix_unless_space: bool = False
    refusal: str | None = None

    def as_record(self) -> dict[str, Any]:
        """Which tokenizer it is, and how to load it again."""
        names = ("name", "family", "source", "pattern", "specials", "sha256", "n_tokens")
        return {name: getattr(self, name) for name in names}

    @property
    def can_grow(self) -> bool:
        """Whether merges can be added to it without touching other text."""
        return self.refusal is None

    @property
    def originals(self) -> tuple[Form, ...]:
        """The forms in which a merged tokenizer is written as well."""
        return tuple(form for form in self.files if form.has_same_ids)

    @functools.cached_property
    def forms(self) -> Mapping[Kind, bytes]:
        """The data of the other forms, one of each kind."""
        forms: dict[Kind, bytes] = {}
        for form in self.files:
            forms.setdefault(form.kind, form.data)
        return forms

    @property
    def model_config(self) -> Path | None:
        """config.json of the model in the same folder, where there is one."""
        path = None if self.folder is None else self.folder.resolve() / "config.json"
        return path if path is not None and path.is_file() else None

    def config(self, name: str) -> dict[str, Any]:
        """What a JSON file of the folder says of the tokenizer; nothing where it is not there or no JSON object."""
        try:
            value = json_value(self.companions.get(name, b"{}"))
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    # --- Vocabulary ---------------------------------------------------------------------------------------------------

    @functools.cached_property
    def vocab(self) -> Mapping[str, int]:
        """Piece as tokenizer.json spells it -> id, added tokens included, in the order of ids."""
        pieces = self.tokenizer_json["model"]["vocab"]
        if isinstance(pieces, list):  # Unigram: [piece, log probability] in the order of ids
            pieces = {piece: index for index, (piece, _) in enumerate(pieces)}
        vocab = {**pieces, **{token["content"]: token["id"] for token in self.added_tokens}}
        return dict(sorted(vocab.items(), key=operator.itemgetter(1, 0)))

    @functools.cached_property
    def spelling(self) -> Mapping[int, str]:
        """Id -> piece."""
        return {index: piece for piece, index in self.vocab.items()}

    @functools.cached_property
    def n_tokens(self) -> int:
        """One more than the largest id, added tokens included: new ids start here."""
        return max(self.vocab.values(), default=-1) + 1

    @property
    def added_tokens(self) -> list[dict[str, Any]]:
        """Special and other added tokens as tokenizer.json lists them, with their flags."""
        return list(self.tokenizer_json.get("added_tokens", []))

    @functools.cached_property
    def added(self) -> Mapping[int, Mapping[str, Any]]:
        """The same by id."""
        return {token["id"]: token for token in self.added_tokens}

    @functools.cached_property
    def added_contents(self) -> tuple[str, ...]:
        """Strings that tokenizer.json takes out of text before the model sees it (special and other added tokens)."""
        return tuple(token["content"] for token in self.added_tokens)

    @functools.cached_property
    def is_byte_level(self) -> bool:
        """Whether pieces spell bytes in GPT-2's printable alphabet."""
        if self.family is not None:
            return self.family == "byte-level-bpe"
        parts = (self.tokenizer_json.get("pre_tokenizer"), self.tokenizer_json.get("decoder"))
        return any('"ByteLevel"' in json.dumps(part) for part in parts)

    @functools.cached_property
    def texts(self) -> Mapping[int, bytes]:
        """Id -> bytes of text that the piece stands for; not for added tokens, byte pieces and parts of words (##)."""
        prefix = self.tokenizer_json["model"].get("continuing_subword_prefix")
        return {
            index: self.text_of(piece)
            for index, piece in self.spelling.items()
            if index not in self.added
            and not (prefix and piece.startswith(prefix))
            and (self.is_byte_level or not _BYTE_PIECE.fullmatch(piece))
        }

    @functools.cached_property
    def whole_texts(self) -> Mapping[int, str]:
        """The same as text, of pieces that are whole characters."""
        return {index: text for index, data in self.texts.items() if (text := decoded(data))}

    @functools.cached_property
    def cut_ids(self) -> list[int]:
        """Pieces that begin or end inside a character."""
        return [index for index, data in self.texts.items() if data and index not in self.whole_texts]

    def text_of(self, piece: str) -> bytes:
        """The bytes of text that a piece of the model stands for; a piece that is no spelling of bytes is itself."""
        if not self.is_byte_level:
            return piece.replace(SPACE_SYMBOL, " ").encode()
        return piece.encode() if (data := bytes_spelled(piece)) is None else data

    def show(self, ids: list[int]) -> str:
        """Ids as a reader can check them: each with its piece."""
        return " ".join(f"{index}:{self.spelling.get(index, '?')!r}" for index in ids)

    @functools.cached_property
    def model_pieces(self) -> frozenset[str]:
        """The pieces of tokenizer.model, names of control pieces included; empty where there is none."""
        data = self.forms.get("tokenizer.model")
        return frozenset() if data is None else frozenset(piece.piece for piece in read_model(data).pieces)

    # --- Encoding -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _bpe(self) -> tokenizers.models.BPE | None:
        """The model that its encoders share."""
        return bpe_of(self.tokenizer_json["model"])

    @functools.cached_property
    def full(self) -> tokenizers.Tokenizer:
        """The tokenizer as loaded, without truncation and padding: the authority every count is checked against."""
        assert self.encodes_as_json
        return counting_tokenizer(self.tokenizer_json, self._bpe)

    @functools.cached_property
    def missing(self) -> Mapping[Kind, str]:
        """Forms that cannot be used, and the package that would read them."""
        return {kind: package for kind in self.forms if (package := missing_package(kind)) is not None}

    @functools.cached_property
    def encoders(self) -> Mapping[Kind, Encoder]:
        """What encodes, by form."""
        encoders: dict[Kind, Encoder] = {}
        if self.encodes_as_json:
            encoders["tokenizer.json"] = JsonEncoder(self.full, self.source)
        for kind in (kind for kind in self.forms if kind not in self.missing):
            encoders[kind] = encoder_of(kind, self.forms[kind], self.tokenizer_json)
        return encoders

    @functools.cached_property
    def bare(self) -> Mapping[Kind, Encoder]:
        """What encodes the text of single pieces, by form: the whole pipeline, but nothing is put before the text."""
        encoders: dict[Kind, Encoder] = {}
        if self.encodes_as_json:
            encoders["tokenizer.json"] = without_prefix(self.tokenizer_json, self._bpe, self.source)
        if "tokenizer.model" in self.forms:
            encoders["tokenizer.model"] = ModelEncoder.of(self.forms["tokenizer.model"], prefix=False)
        return encoders

    @functools.cached_property
    def merging_tokenizer(self) -> tokenizers.Tokenizer:
        """An encoder of pieces as tokenizer.json spells them, by merges alone: nothing is normalised or split."""
        model = {**self.tokenizer_json["model"], "ignore_merges": False}
        bpe = None if self.tokenizer_json["model"].get("ignore_merges") else self._bpe
        nothing = dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor"))
        return counting_tokenizer(self.tokenizer_json, bpe, **nothing, added_tokens=[], model=model)

    @functools.cached_property
    def by_merges(self) -> Encoder | None:
        """The same as an encoder; None where tokenizer.json is no BPE."""
        is_bpe = self.encodes_as_json and self.tokenizer_json["model"].get("type") == "BPE"
        return JsonEncoder(self.merging_tokenizer, self.source) if is_bpe else None

    # --- Growth: the rest is of tokenizers that can grow --------------------------------------------------------------

    @functools.cached_property
    def sentencepiece_model(self) -> bytes | None:
        """The same tokenizer as a SentencePiece model, where it has one."""
        return next((form.data for form in self.originals if form.kind == "tokenizer.model"), None)

    @functools.cached_property
    def frozen_ids(self) -> frozenset[int]:
        """Tokens that no merge may take, as sentencepiece merges them with nothing: user-defined and unused pieces."""
        isolated = {self.tokenizer_json["model"]["vocab"][symbol] for symbol in self.isolated}
        pieces = [] if self.sentencepiece_model is None else read_model(self.sentencepiece_model).pieces
        return frozenset(isolated.union(i for i, piece in enumerate(pieces) if piece.type in (USER_DEFINED, UNUSED)))

    @functools.cached_property
    def isolated(self) -> tuple[str, ...]:
        """User-defined symbols that the pre-tokenizer cuts out of text, since added tokens could not do it exactly."""
        return isolated_symbols(self.tokenizer_json) if self.family == "sentencepiece-bpe" else ()

    @functools.cached_property
    def byte_values(self) -> list[int]:
        """Id -> the byte that a byte-fallback piece spells; -1 for all other pieces."""
        values = [-1] * self.n_tokens
        if self.family == "sentencepiece-bpe":
            for piece, index in self.tokenizer_json["model"]["vocab"].items():
                if _BYTE_PIECE.fullmatch(piece):
                    values[index] = int(piece[3:5], 16)
        return values

    @functools.cached_property
    def pieces(self) -> list[bytes]:
        """Id -> the bytes of text a token stands for (▁ as a space).

        Empty for special tokens, for byte pieces, and for what no text of a byte-level base can become: a piece with a
        character that is no byte's, as no merge leads to it, or the one that stands for `missing_bytes`.
        """
        assert self.family is not None
        unknown = self.tokenizer_json["model"].get("unk_token") if self.missing_bytes else None
        pieces = [b""] * self.n_tokens
        for index, text in self.texts.items():
            piece = self.spelling[index]
            if not self.is_byte_level or (piece != unknown and bytes_spelled(piece) is not None):
                pieces[index] = text
        return pieces

    @functools.cached_property
    def missing_bytes(self) -> bytes:
        """Bytes of UTF-8 text that a byte-level base has no token for.

        `tokenizers` leaves them out, or gives the model's unknown token for them; no decoder brings them back.
        """
        return missing_bytes(self.tokenizer_json["model"]["vocab"]) if self.family == "byte-level-bpe" else b""

    @functools.cached_property
    def cuts_bytes(self) -> bool:
        """Whether text is cut again after ByteLevel wrote its bytes, so that a cut may fall inside a character."""
        steps = steps_of(self.tokenizer_json.get("pre_tokenizer"), "pretokenizers")
        return self.family == "byte-level-bpe" and steps[-1]["type"] != "ByteLevel"

    def piece_bytes(self, piece: str) -> bytes:
        """The bytes of text that a piece stands for. Raises KeyError: no spelling in the byte-level alphabet."""
        if self.family == "sentencepiece-bpe":
            return piece.replace(SPACE_SYMBOL, " ").encode()
        if (data := bytes_spelled(piece)) is None:
            raise KeyError(piece)
        return data

    def piece_string(self, data: bytes) -> str:
        """The inverse of `piece_bytes`: how tokenizer.json spells the piece that stands for `data`."""
        if self.family == "sentencepiece-bpe":
            return data.decode().replace(" ", SPACE_SYMBOL)
        return spelled(data)

    @functools.cached_property
    def chunk_json(self) -> dict[str, Any]:
        """tokenizer.json reduced to what happens inside one chunk of text: no added tokens, no prefix, no splitting.

        Chunks of the byte-level family are pre-tokens, normalised already; where bytes are cut, spelled as in
        tokenizer.json.
        """
        spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
        to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        is_sentencepiece, model = self.family == "sentencepiece-bpe", self.tokenizer_json["model"]
        # Inside a chunk nothing is put before the text, so that here added tokens do what the pre-tokenizer does.
        symbols = [added_token(model["vocab"][symbol], symbol, special=False) for symbol in self.isolated]
        is_normalized = SPACE_SYMBOL in "".join(self.isolated)
        return {
            **without_batch_settings(self.tokenizer_json),
            "added_tokens": [{**symbol, "normalized": is_normalized} for symbol in symbols],
            "model": {**model, "ignore_merges": False} if self.isolated else model,
            "normalizer": spaces if is_sentencepiece else None,
            "pre_tokenizer": None if is_sentencepiece or self.cuts_bytes else to_bytes,
            "post_processor": None,
        }

    @functools.cached_property
    def chunk_tokenizer(self) -> tokenizers.Tokenizer:
        """The `tokenizers` encoder of single chunks."""
        return counting_tokenizer(self.chunk_json, None if self.isolated else self._bpe)

    @functools.cached_property
    def whole_chunk_tokenizer(self) -> tokenizers.Tokenizer:
        """The `tokenizers` encoder of chunks that are not yet cut into pre-tokens."""
        if self.family == "sentencepiece-bpe":
            return self.chunk_tokenizer
        return counting_tokenizer(self.fast_json, self._bpe)

    @functools.cached_property
    def fast_chunk_tokenizer(self) -> Any:
        """The gigatoken encoder of single chunks; None where it is not installed or does not know this tokenizer.

        It is compared on a sample of the chunks (`ChunkEncoder`), which seldom holds a byte that a base lacks.
        """
        return None if self.missing_bytes or self.cuts_bytes else fast_tokenizer(self.fast_json)

    @functools.cached_property
    def fast_json(self) -> dict[str, Any]:
        """The same for gigatoken, which knows whole pipelines only: a byte-level one keeps its split pattern.

        A pre-token is not split again: an alternative that could match a part of it would have matched in context.
        """
        if self.family == "sentencepiece-bpe":
            return self.chunk_json
        kept = {key: self.tokenizer_json[key] for key in ("normalizer", "pre_tokenizer")}
        return {**self.chunk_json, **kept}
