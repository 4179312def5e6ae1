"""What encodes and decodes with a tokenizer in one of its forms: the library that each form was made for."""

import importlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import sentencepiece
from tokenizers import Tokenizer, models, normalizers

from vocabopt.failures import encoded
from vocabopt.tokenizer.families import steps_of
from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.tokenizer.ranks import parse_ranks
from vocabopt.tokenizer.sentencepiece_model import processor_of, read_model
from vocabopt.tokenizer.tokenizer_json import counting_tokenizer, without_model

#: A form of a tokenizer, by the name of its file.
Kind = Literal["tokenizer.json", "tokenizer.model", "tiktoken", "tekken.json"]
Ids = list[list[int]]


class Encoder(Protocol):
    """Ids of texts without the special tokens that documents begin or end with, and the text of ids."""

    def encode(self, texts: Sequence[str]) -> Ids: ...

    def decode(self, rows: Ids, *, skip_special: bool) -> list[str]: ...


@dataclass(frozen=True)
class JsonEncoder:
    """The `tokenizers` library. source: what the tokenizer is, for messages."""

    tokenizer: Tokenizer
    source: str

    def encode(self, texts: Sequence[str]) -> Ids:
        return [encoding.ids for encoding in encoded(self.tokenizer, texts, self.source)]

    def decode(self, rows: Ids, *, skip_special: bool) -> list[str]:
        return self.tokenizer.decode_batch(rows, skip_special_tokens=skip_special)


@dataclass(frozen=True)
class ModelEncoder:
    """sentencepiece. Control pieces stand for no text there, so `skip_special` changes nothing."""

    processor: sentencepiece.SentencePieceProcessor

    @classmethod
    def of(cls, data: bytes, *, prefix: bool = True) -> "ModelEncoder":
        """An encoder with the model `data`; unless `prefix`, a text begins as it stands, with a space or without."""
        if not prefix:
            model = read_model(data)
            model.normalizer_spec.add_dummy_prefix = False
            model.normalizer_spec.remove_extra_whitespaces = False
            data = model.SerializeToString()
        return cls(processor_of(data))

    def encode(self, texts: Sequence[str]) -> Ids:
        return list(self.processor.encode(list(texts), num_threads=-1))

    def decode(self, rows: Ids, *, skip_special: bool) -> list[str]:
        return list(self.processor.decode(rows))


@dataclass(frozen=True)
class RankEncoder:
    """tiktoken; the normaliser stands for what the publisher's code does before it."""

    encoding: Any
    normalizer: normalizers.Normalizer | None

    def encode(self, texts: Sequence[str]) -> Ids:
        if self.normalizer is not None:
            texts = [self.normalizer.normalize_str(text) for text in texts]
        return list(self.encoding.encode_ordinary_batch(list(texts)))

    def decode(self, rows: Ids, *, skip_special: bool) -> list[str]:
        return list(self.encoding.decode_batch(rows))


@dataclass(frozen=True)
class TekkenEncoder:
    """mistral_common."""

    tekkenizer: Any

    def encode(self, texts: Sequence[str]) -> Ids:
        return [self.tekkenizer.encode(text, bos=False, eos=False) for text in texts]

    def decode(self, rows: Ids, *, skip_special: bool) -> list[str]:
        return [self.tekkenizer.decode(row) for row in rows]


#: The library of a form that is not always installed, and its package.
_LIBRARIES: Mapping[Kind, tuple[str, str]] = {
    "tiktoken": ("tiktoken", "tiktoken"),
    "tekken.json": ("mistral_common.tokens.tokenizers.tekken", "mistral-common"),
}


def missing_package(kind: Kind) -> str | None:
    """The package that would read a form, where it is not installed."""
    library, package = _LIBRARIES.get(kind, (None, None))
    try:
        if library is not None:
            importlib.import_module(library)
    except ImportError:
        return package
    return None


def encoder_of(kind: Kind, data: bytes, tokenizer_json: Mapping[str, Any]) -> Encoder:
    """The encoder of a form other than tokenizer.json, whose library is installed.

    Args:
        tokenizer_json: of the same tokenizer; a rank file leaves its split pattern and normaliser to it.
    """
    if kind == "tokenizer.model":
        return ModelEncoder.of(data)
    library: Any = importlib.import_module(_LIBRARIES[kind][0])
    if kind == "tekken.json":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tekken.json"
            path.write_bytes(data)
            return TekkenEncoder(library.Tekkenizer.from_file(path))
    ranks, pattern = parse_ranks(data, kind), split_pattern(tokenizer_json)
    return RankEncoder(
        library.Encoding("verify", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}),
        without_model(tokenizer_json).normalizer if tokenizer_json.get("normalizer") is not None else None,
    )


def split_pattern(tokenizer_json: Mapping[str, Any]) -> str:
    """The regular expression by which a byte-level tokenizer.json splits text."""
    for step in steps_of(tokenizer_json.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Split" and "Regex" in step["pattern"]:
            return str(step["pattern"]["Regex"])
    return GPT2_PATTERN


def canonical_parts(tokenizer_json: Mapping[str, Any]) -> dict[str, Any]:
    """Normaliser, pre-tokenizer, post-processor and decoder as the library writes them, whoever wrote the file."""
    value = json.loads(without_model(tokenizer_json).to_str())
    return {part: value.get(part) for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder")}


def without_prefix(tokenizer_json: Mapping[str, Any], bpe: models.BPE | None, source: str) -> JsonEncoder:
    """The whole pipeline, but for what it puts before a text. bpe: as `counting_tokenizer` takes it."""
    bare = {part: _bare(tokenizer_json.get(part)) for part in ("normalizer", "pre_tokenizer")}
    return JsonEncoder(counting_tokenizer(tokenizer_json, bpe, **bare, post_processor=None), source)


def _bare(part: Any) -> Any:
    """A normaliser or pre-tokenizer without the steps that put something first."""
    if part is None or part["type"] == "Prepend":
        return None
    for key in ("normalizers", "pretokenizers"):
        if part["type"] == "Sequence" and key in part:
            return {**part, key: [kept for step in part[key] if (kept := _bare(step)) is not None]}
    if part["type"] == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    return {**part, "add_prefix_space": False} if part.get("add_prefix_space") else part
