"""Base tokenizers: load them from what people have, recognise their family, refuse what cannot be grown exactly.

Two families can be grown by merges without touching other text:

    sentencepiece-bpe   BPE over characters, spaces written as ▁, unknown characters spelled in byte pieces
                        (Mistral, Llama 2)
    byte-level-bpe      BPE over the bytes of pre-tokens, each byte written as one printable character
                        (GPT-2, Qwen, Llama 3)
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from vocabopt.errors import BaseTokenizerError
from vocabopt.families import Family, Prefix, byte_of_char, char_of_byte, recognise
from vocabopt.options import DEFAULT_BASE
from vocabopt.sentencepiece_model import SPACE_SYMBOL, parse_model, special_token_names, to_tokenizer_json

#: Files of a Hugging Face folder that belong to the tokenizer and travel with a merged one.
COMPANION_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json")


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base tokenizer that can be grown.

    source: what `load_base` loads it from again: a built-in name, an absolute path, or a hub id.
    `pieces[id]` are the bytes of text a token stands for (▁ as a space), empty for special and byte tokens of the
    SentencePiece family; `byte_values[id]` is the byte a byte-fallback piece spells, -1 for all other pieces.
    """

    name: str
    family: Family
    source: str
    sha256: str
    tokenizer_json: Mapping[str, Any]
    companions: Mapping[str, bytes] = field(default_factory=dict)
    special_names: Mapping[str, str] = field(default_factory=dict)
    model_n_rows: int | None = None
    prefix: Prefix
    prefix_unless_space: bool

    @functools.cached_property
    def full(self) -> Tokenizer:
        """The tokenizer as loaded, the outside authority every count is checked against."""
        return Tokenizer.from_str(json.dumps(self.tokenizer_json))

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
    def normalized_ids(self) -> frozenset[int]:
        """Added tokens that tokenizer.json looks for in normalised text."""
        tokens = self.tokenizer_json.get("added_tokens", [])
        return frozenset(token["id"] for token in tokens if token.get("normalized"))

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
            if index in self.added_ids or self.byte_values[index] >= 0:
                continue
            pieces[index] = self.piece_bytes(piece)
        return pieces

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

        Chunks of the byte-level family are pre-tokens, normalised already.
        """
        spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
        to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        is_sentencepiece = self.family == "sentencepiece-bpe"
        return {
            **self.tokenizer_json,
            "added_tokens": [],
            "normalizer": spaces if is_sentencepiece else None,
            "pre_tokenizer": None if is_sentencepiece else to_bytes,
            "post_processor": None,
            "truncation": None,
            "padding": None,
        }

    @functools.cached_property
    def chunk_tokenizer(self) -> Tokenizer:
        """The `tokenizers` encoder of single chunks."""
        return Tokenizer.from_str(json.dumps(self.chunk_json))

    @functools.cached_property
    def fast_chunk_tokenizer(self) -> Any:
        """The gigatoken encoder of single chunks; None where it is not installed or does not know this tokenizer."""
        try:
            from gigatoken import Tokenizer as FastTokenizer

            return FastTokenizer.from_json(json.dumps(self.fast_json))
        except Exception:  # its errors are of many kinds
            return None

    @functools.cached_property
    def fast_json(self) -> dict[str, Any]:
        """The same for gigatoken, which knows whole pipelines only: a byte-level one keeps its split pattern.

        A pre-token is not split again: an alternative that could match a part of it would have matched in context.
        """
        if self.family == "sentencepiece-bpe":
            return self.chunk_json
        kept = {key: self.tokenizer_json[key] for key in ("normalizer", "pre_tokenizer")}
        return {**self.chunk_json, **kept}


def load_base(value: str) -> Base:
    """Load a base tokenizer.

    Args:
        value: `mistral-7b-v1` (built in), a Hugging Face folder, a tokenizer.json, a SentencePiece BPE .model, or a
            Hugging Face hub id (`organisation/name`).

    Raises:
        BaseTokenizerError: not found, unreadable, or of a kind that cannot be grown exactly.
    """
    if value == DEFAULT_BASE:
        return _load_builtin_mistral()
    path = Path(value)
    if value and path.is_dir():
        return _load_folder(path, name=path.resolve().name, source=str(path.resolve()))
    if path.is_file():
        name = path.resolve().parent.name if path.name.startswith("tokenizer.") else path.stem
        return _load_file(path, name=name, source=str(path.resolve()))
    if re.fullmatch(r"[\w.-]+/[\w.-]+", value) and not value.startswith((".", "/")):
        return _load_folder(_download(value), name=value.split("/")[-1], source=value)
    raise BaseTokenizerError(
        f"{value}: no such base tokenizer. Pass {DEFAULT_BASE} (built in), a Hugging Face folder, a tokenizer.json, "
        "a SentencePiece .model, or a hub id (organisation/name)."
    )


def _load_builtin_mistral() -> Base:
    # The file of the package, found without importing it: mistral_common pulls in pydantic and takes half a second.
    from importlib.util import find_spec

    spec = find_spec("mistral_common")
    if spec is None or not spec.submodule_search_locations:
        raise BaseTokenizerError(
            "mistral-7b-v1: the package mistral-common is not installed. pip install mistral-common"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "tokenizer.model.v1"
    if not path.is_file():
        raise BaseTokenizerError(f"{path}: missing from the package mistral-common. pip install -U mistral-common")
    return _load_file(path, name=DEFAULT_BASE, source=DEFAULT_BASE)


def _load_folder(folder: Path, *, name: str, source: str) -> Base:
    n_rows = _model_n_rows(folder / "config.json")
    companions = {file: (folder / file).read_bytes() for file in COMPANION_FILES if (folder / file).is_file()}
    for file in ("tokenizer.json", "tokenizer.model"):
        if (folder / file).is_file():
            return _load_file(folder / file, name=name, source=source, companions=companions, model_n_rows=n_rows)
    raise BaseTokenizerError(
        f"{folder}: no tokenizer.json or tokenizer.model in this folder. Pass the folder of a Hugging Face tokenizer."
    )


def _model_n_rows(config: Path) -> int | None:
    """Rows of the embedding table as the base's own config.json states them (padding included), if it is there."""
    try:
        value = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    n_rows = value.get("vocab_size") or value.get("text_config", {}).get("vocab_size")
    return n_rows if isinstance(n_rows, int) else None


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        patterns = ["tokenizer.json", "tokenizer.model", "config.json", *COMPANION_FILES]
        return Path(snapshot_download(hub_id, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise BaseTokenizerError(
            f"{hub_id}: not a local path, and not to be had from the Hugging Face hub ({type(error).__name__}). "
            "Check the id and the network, or pass a local folder."
        ) from error


def _load_file(
    path: Path,
    *,
    name: str,
    source: str,
    companions: Mapping[str, bytes] | None = None,
    model_n_rows: int | None = None,
) -> Base:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BaseTokenizerError(f"{path}: cannot be read ({error.strerror}).") from error
    special_names: dict[str, str] = {}
    if data.lstrip()[:1] == b"{":
        tokenizer_json = _parse_tokenizer_json(data, path)
    elif re.match(rb"[A-Za-z0-9+/=]+ \d+\r?\n", data[:200]):
        raise BaseTokenizerError(
            f"{path}: is a tiktoken rank file: it holds no split pattern and no special tokens. "
            "Pass the tokenizer.json of the same model."
        )
    else:
        model = parse_model(data, str(path))
        tokenizer_json = to_tokenizer_json(model)
        special_names = special_token_names(model)
    family, prefix, unless_space = recognise(tokenizer_json, str(path))
    return Base(
        name=name,
        family=family,
        source=source,
        sha256=hashlib.sha256(data).hexdigest(),
        tokenizer_json=tokenizer_json,
        companions=companions or {},
        special_names=special_names,
        model_n_rows=model_n_rows,
        prefix=prefix,
        prefix_unless_space=unless_space,
    )


def _parse_tokenizer_json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(data)
        # The library's own reader is the judge of the rest, and turns old string-form merges into pairs.
        value = json.loads(Tokenizer.from_str(data.decode()).to_str())
    except Exception as error:  # tokenizers raises bare Exception
        raise BaseTokenizerError(
            f"{path}: is not a tokenizer.json that the tokenizers library can read ({error})."
        ) from error
    assert isinstance(value, dict)
    return value
