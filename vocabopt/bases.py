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
from typing import Any, Literal

from tokenizers import Tokenizer

from vocabopt.errors import BaseTokenizerError
from vocabopt.sentencepiece_model import SPACE_SYMBOL, parse_model, special_token_names, to_tokenizer_json

Family = Literal["sentencepiece-bpe", "byte-level-bpe"]
Prefix = Literal["always", "first", "never"]

DEFAULT_BASE = "mistral-7b-v1"
#: Files of a Hugging Face folder that belong to the tokenizer and travel with a merged one.
COMPANION_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json")
_UNICODE_NORMALIZERS = frozenset({"NFC", "NFD", "NFKC", "NFKD"})


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
        return max(*self.tokenizer_json["model"]["vocab"].values(), *self.added_ids) + 1

    @functools.cached_property
    def added_contents(self) -> tuple[str, ...]:
        """Strings that tokenizer.json takes out of text before the model sees it (special and other added tokens)."""
        return tuple(token["content"] for token in self.tokenizer_json.get("added_tokens", []))

    @functools.cached_property
    def added_ids(self) -> frozenset[int]:
        return frozenset(token["id"] for token in self.tokenizer_json.get("added_tokens", []))

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
    def fast_json(self) -> dict[str, Any]:
        """The same for gigatoken, which knows whole pipelines only: a byte-level one keeps its split pattern.

        A pre-token is not split again: an alternative that could match a part of it would have matched in context.
        """
        if self.family == "sentencepiece-bpe":
            return self.chunk_json
        kept = {key: self.tokenizer_json[key] for key in ("normalizer", "pre_tokenizer")}
        return {**self.chunk_json, **kept}


@functools.cache
def char_of_byte() -> tuple[str, ...]:
    """GPT-2's printable alphabet: byte -> character (github.com/openai/gpt-2, encoder.py, bytes_to_unicode)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}
    return tuple(table[byte] for byte in range(256))


@functools.cache
def byte_of_char() -> dict[str, int]:
    """Character of GPT-2's printable alphabet -> byte."""
    return {char: byte for byte, char in enumerate(char_of_byte())}


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
    if path.is_dir():
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
    elif re.match(rb"[A-Za-z0-9+/=]+ \d+\n", data[:200]):
        raise BaseTokenizerError(
            f"{path}: is a tiktoken rank file: it holds no split pattern and no special tokens. "
            "Pass the tokenizer.json of the same model."
        )
    else:
        model = parse_model(data, str(path))
        tokenizer_json = to_tokenizer_json(model)
        special_names = special_token_names(model)
    family, prefix, unless_space = _recognise(tokenizer_json, str(path))
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


def _recognise(value: Mapping[str, Any], place: str) -> tuple[Family, Prefix, bool]:
    """Family of a tokenizer.json, how its documents start, and whether a leading space stands for the prefix."""
    model = value["model"]
    kind = model.get("type", "unknown")
    if kind != "BPE":
        raise BaseTokenizerError(
            f"{place}: its model is {kind}. Only BPE can be grown by merges: other models choose splits by their "
            "whole vocabulary, so one new piece would change how old text is split."
        )
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            raise BaseTokenizerError(f"{place}: its BPE uses {option} = {model[option]!r}, which is not supported.")
    steps = _steps(value.get("pre_tokenizer"), "pretokenizers")
    if any(step["type"] == "ByteLevel" for step in steps):
        return _recognise_byte_level(value, steps, place)
    return _recognise_sentencepiece(value, steps, place)


def _steps(part: Any, key: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return [step for inner in part[key] for step in _steps(inner, key)] if part["type"] == "Sequence" else [part]


def _recognise_byte_level(
    value: Mapping[str, Any], steps: list[dict[str, Any]], place: str
) -> tuple[Family, Prefix, bool]:
    if steps[-1]["type"] != "ByteLevel":
        raise BaseTokenizerError(f"{place}: its pre-tokenizer does not end with ByteLevel, which is not supported.")
    for step in _steps(value.get("normalizer"), "normalizers"):
        if step["type"] not in _UNICODE_NORMALIZERS:
            raise BaseTokenizerError(
                f"{place}: its normaliser has a step {step['type']}; byte-level bases are supported with Unicode "
                "normal forms (NFC, NFD, NFKC, NFKD) only."
            )
    missing = [char for char in char_of_byte() if char not in value["model"]["vocab"]]
    if missing:
        raise BaseTokenizerError(
            f"{place}: its vocabulary lacks {len(missing)} of the 256 byte tokens, so some text cannot be encoded."
        )
    add_prefix: bool = steps[-1].get("add_prefix_space", False)
    if add_prefix and len(steps) > 1:
        raise BaseTokenizerError(
            f"{place}: its ByteLevel step adds a space before every earlier split, which is not supported."
        )
    return "byte-level-bpe", ("always" if add_prefix else "never"), True


def _recognise_sentencepiece(
    value: Mapping[str, Any], steps: list[dict[str, Any]], place: str
) -> tuple[Family, Prefix, bool]:
    model = value["model"]
    if not model.get("byte_fallback") or any(f"<0x{byte:02X}>" not in model["vocab"] for byte in range(256)):
        raise BaseTokenizerError(
            f"{place}: its BPE is neither byte-level nor has byte fallback, so plain text can become <unk> and be "
            "lost. Pass a base with byte fallback (Mistral, Llama 2) or a byte-level one (GPT-2, Qwen, Llama 3)."
        )
    normalizers = _steps(value.get("normalizer"), "normalizers")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
    prepend = {"type": "Prepend", "prepend": SPACE_SYMBOL}
    if not steps and normalizers == [prepend, replace]:
        return "sentencepiece-bpe", "always", False
    # Gemma splits at spaces after replacing them, which finds none: the step does nothing.
    idle = [step for step in steps if step["type"] == "Split" and step["pattern"] == {"String": " "}]
    if normalizers == [replace] and len(idle) == len(steps):
        return "sentencepiece-bpe", "never", False
    metaspace = steps[0] if len(steps) == 1 and steps[0]["type"] == "Metaspace" and not normalizers else {}
    if metaspace.get("replacement") == SPACE_SYMBOL and not metaspace.get("split", True):
        return "sentencepiece-bpe", metaspace.get("prepend_scheme", "always"), True
    kinds = [step["type"] for step in normalizers], [step["type"] for step in steps]
    raise BaseTokenizerError(
        f"{place}: has byte fallback, but its normaliser {kinds[0]} and pre-tokenizer {kinds[1]} are not those of "
        "Llama, Mistral or Gemma, so its chunks cannot be told."
    )
