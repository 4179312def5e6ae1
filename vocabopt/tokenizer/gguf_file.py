"""GGUF files: the tokenizer that one holds, read by the package `gguf`. Weights are not read.

What a file holds (github.com/ggml-org/ggml, docs/gguf.md) is a list of tokens with their types, and by kind:

    llama     SentencePiece BPE: scores. The model file that its converter read is made again, and is what counts
    gpt2      byte-level BPE: merges, and the name of a split pattern (gguf_names.py)
    gemma4    BPE of characters with byte fallback: merges, as tokenizer.json has them

Rows that pad the model's table ([PAD151646]) are no tokens: new ids begin after the last token, as in the publisher's
own files. Flags of added tokens (lstrip, rstrip, normalized) are not in a GGUF: text loses the tokens as they stand.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2 as sp_pb2

from vocabopt.errors import BaseTokenizerError, how_to_install, tell
from vocabopt.failures import refusal
from vocabopt.tokenizer.families import recognise
from vocabopt.tokenizer.gguf_names import SPLITTINGS
from vocabopt.tokenizer.model_check import settled
from vocabopt.tokenizer.sentencepiece_model import (
    CONTROL,
    NORMAL,
    SPACE_SYMBOL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    parse_model,
    to_tokenizer_json,
)
from vocabopt.tokenizer.tokenizer import Form, Tokenizer
from vocabopt.tokenizer.tokenizer_json import added_token, bos_first, bpe_model, refuse_added_tokens, whole_json

#: The first bytes of a file.
MAGIC = b"GGUF"
_BPE = 2
_KINDS = ("llama", "gpt2", "gemma4")
_KEY = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
#: Of special tokens: name in tokenizer_config.json -> key in the file.
_SPECIAL = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
    "mask_token": "mask_token_id",
}


@dataclass(frozen=True, kw_only=True)
class GgufVocabulary:
    """What a file says of its tokenizer.

    kind: tokenizer.ggml.model. pattern: the name of its split pattern; None where it has none. tokens, types: of every
    row, numbered as sentencepiece numbers types. scores: of a SentencePiece model. merges: "left right". special: name
    in tokenizer_config.json -> id. templates: name -> chat template, "" the first. adds_prefix, adds_bos: None where
    the file does not say.
    """

    kind: str
    pattern: str | None
    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float]
    merges: Sequence[str]
    special: Mapping[str, int]
    templates: Mapping[str, str]
    adds_prefix: bool | None
    adds_bos: bool | None

    def is_padding(self, index: int) -> bool:
        """Whether a row is there to round up the table; older converters give it any type."""
        return self.tokens[index] == f"[PAD{index}]"

    @property
    def n_tokens(self) -> int:
        """Rows without the padding at the end."""
        return next((i + 1 for i in reversed(range(len(self.tokens))) if not self.is_padding(i)), 0)

    def token_of(self, name: str) -> str | None:
        """The special token of this name, if the file has it."""
        index = self.special.get(name)
        return None if index is None else self.tokens[index]

    @property
    def identity(self) -> str:
        """Changes with whatever ids or special tokens depend on, and not with the weights."""
        parts = [self.kind, self.pattern, self.tokens, self.types, self.scores, self.merges, self.special]
        return hashlib.sha256(json.dumps([*parts, self.adds_prefix, self.adds_bos]).encode()).hexdigest()


def is_gguf(path: Path) -> bool:
    """Does the file begin as a GGUF? Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_gguf(path: Path) -> GgufVocabulary:
    """Read what a GGUF says of its tokenizer.

    Raises:
        BaseTokenizerError: the package is missing, or the file is broken, or holds no tokenizer of a kind known here.
    """
    fields = opened(path).fields
    try:
        return _vocabulary_of(fields, path)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise BaseTokenizerError(
            f"{path}: a field of its tokenizer holds another kind of value than it should ({_KEY}*). Fetch the file "
            "again, or convert the model again."
        ) from error


def _vocabulary_of(fields: Mapping[str, Any], path: Path) -> GgufVocabulary:
    """`read_gguf` of fields; what a value of another kind raises is left to the caller."""

    def said(key: str, default: Any = None) -> Any:
        return fields[_KEY + key].contents() if _KEY + key in fields else default

    kind = said("model")
    if kind is None:
        raise BaseTokenizerError(
            f"{path}: this GGUF holds no tokenizer. Of a model in several files it is in the first (-00001-of-); of a "
            "projector or a LoRA pass the model that it belongs to."
        )
    if kind not in _KINDS:
        raise BaseTokenizerError(
            f"{path}: its tokenizer is of the kind {kind!r} (tokenizer.ggml.model). Only BPE can be grown by merges: "
            f"{', '.join(_KINDS)}. Pass another base."
        )
    tokens = said("tokens", [])
    types, special = said("token_type", [NORMAL] * len(tokens)), {name: said(key) for name, key in _SPECIAL.items()}
    merges, scores = said("merges", []), said("scores", [])
    needed = {"tokens": tokens, **({"scores": scores} if kind == "llama" else {"merges": merges})}
    if missing := [name for name, values in needed.items() if not values]:
        raise BaseTokenizerError(f"{path}: a GGUF without {_KEY}{missing[0]}. Convert the model again.")
    if len(types) != len(tokens) or (kind == "llama" and len(scores) != len(tokens)):
        raise BaseTokenizerError(
            f"{path}: a GGUF with {len(tokens):,} tokens, {len(types):,} types and {len(scores):,} scores. Convert the "
            "model again."
        )
    return GgufVocabulary(
        kind=kind,
        pattern=said("pre"),
        tokens=tokens,
        types=[int(value) for value in types],
        scores=[float(value) for value in scores] if kind == "llama" else [],
        merges=merges,
        special={name: int(index) for name, index in special.items() if index is not None and index < len(tokens)},
        templates={
            name.removeprefix(_TEMPLATE).removeprefix("."): field.contents()
            for name, field in fields.items()
            if name == _TEMPLATE or name.startswith(f"{_TEMPLATE}.")
        },
        adds_prefix=said("add_space_prefix"),
        adds_bos=said("add_bos_token"),
    )


def opened(path: Path) -> Any:
    """A GGUF file as gguf.GGUFReader has it: fields by name, tensors with name and shape.

    Raises:
        BaseTokenizerError: the package is missing, or the file is broken.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise BaseTokenizerError(f"{path}: is a GGUF, and needs gguf to be read. {how_to_install('gguf')}") from error
    try:
        return GGUFReader(path)
    except OSError as error:
        raise BaseTokenizerError(refusal(error, path, what="cannot be read")) from error
    except Exception as error:  # of a broken file: ValueError, KeyError, IndexError and what numpy raises
        # What they say is of places in the reader, not in the file.
        n_bytes = path.stat().st_size
        raise BaseTokenizerError(
            f"{path}: is no whole GGUF file: its {n_bytes:,} bytes end early, or are damaged. Fetch it again."
        ) from error


def load_gguf(path: Path, *, name: str, source: str, folder: Path | None) -> Tokenizer:
    """The tokenizer in a GGUF file; arguments as `Tokenizer` has them.

    Raises:
        BaseTokenizerError: as `read_gguf`; or it cannot be made exactly, or be grown.
    """
    read = read_gguf(path)
    if read.kind == "llama":
        if read.adds_prefix is None:
            tell(
                f"prefix {path}",
                f"{path}: does not say whether a space is put before text (tokenizer.ggml.add_space_prefix). It is "
                "counted with one, as llama.cpp does; the publisher's tokenizer.model would say.",
            )
        data = model_of(read)
        value = to_tokenizer_json(parse_model(data, str(path)))
    else:
        data, value = b"", _byte_level_json(read, path) if read.kind == "gpt2" else _characters_json(read)
    bos = read.token_of("bos_token")
    begins = read.adds_bos if read.adds_bos is not None else _begins_by_default(read)
    value["post_processor"] = bos_first(bos, read.special["bos_token"]) if begins and bos is not None else None
    names = {name: token for name in _SPECIAL if (token := read.token_of(name)) is not None}
    refuse_added_tokens(value, path)
    family, prefix, prefix_unless_space = recognise(value, str(path))
    tokenizer = Tokenizer(
        name=name,
        source=source,
        sha256=read.identity,
        written="tokenizer.model" if data else "tokenizer.json",
        tokenizer_json=value,
        files=(Form(kind="tokenizer.model", file_name="tokenizer.model", data=data, has_same_ids=True),) * bool(data),
        folder=folder,
        companions=_companions(read.templates, names),
        special_names=names,
        model_n_rows=len(read.tokens),
        family=family,
        prefix=prefix,
        prefix_unless_space=prefix_unless_space,
    )
    return settled(tokenizer, str(path)) if data else tokenizer


def _companions(templates: Mapping[str, str], special: Mapping[str, str]) -> dict[str, bytes]:
    """Chat templates, and the special tokens that they name, as files of a Hugging Face folder."""
    if not templates:
        return {}
    files = {name: f"additional_chat_templates/{name}.jinja" if name else "chat_template.jinja" for name in templates}
    config = {"clean_up_tokenization_spaces": False, "model_max_length": int(1e30), **special}
    written = {files[name]: template.encode() for name, template in templates.items()}
    return {"tokenizer_config.json": json.dumps(config).encode(), **written}


def _begins_by_default(read: GgufVocabulary) -> bool:
    """Whether documents begin with a special token where the file does not say; as llama.cpp has it."""
    return read.kind != "gpt2" or SPLITTINGS[read.pattern or ""].begins_with_bos


# --- SentencePiece ----------------------------------------------------------------------------------------------------


def model_of(read: GgufVocabulary) -> bytes:
    """The SentencePiece model that a file was made of, without what it says of its training."""
    model = sp_pb2.ModelProto()  # type: ignore[attr-defined]
    unknown = read.special.get("unk_token", 0)
    for index in range(read.n_tokens):
        piece, kind = read.tokens[index], read.types[index]
        if index == unknown:
            kind = UNKNOWN
        elif read.is_padding(index) or kind == UNKNOWN:
            kind = UNUSED if read.is_padding(index) else CONTROL
        elif kind == USER_DEFINED:
            # llama.cpp looks for them before it writes spaces as ▁, and the converter spelled them so.
            piece = piece.replace(" ", SPACE_SYMBOL)
        model.pieces.add(piece=piece, score=read.scores[index], type=kind)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.vocab_size, trainer.byte_fallback = _BPE, len(model.pieces), True
    for name in ("bos", "eos", "unk", "pad"):
        index = unknown if name == "unk" else read.special.get(f"{name}_token", -1)
        setattr(trainer, f"{name}_id", index)
        if index >= 0:
            setattr(trainer, f"{name}_piece", read.tokens[index])
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = True if read.adds_prefix is None else read.adds_prefix
    normalizer.remove_extra_whitespaces = False
    return bytes(model.SerializeToString())


# --- Merges -----------------------------------------------------------------------------------------------------------


def _parts(read: GgufVocabulary, **settings: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The model part of tokenizer.json, and its added tokens."""
    kinds = {index: read.types[index] for index in range(read.n_tokens) if not read.is_padding(index)}
    vocab = {read.tokens[index]: index for index, kind in kinds.items() if kind != UNUSED}
    added = [
        added_token(index, read.tokens[index], special=kind != USER_DEFINED)
        for index, kind in kinds.items()
        if kind in (CONTROL, UNKNOWN, USER_DEFINED)
    ]
    # A part may begin with a space only where it is one.
    merges = ((merge[:cut], merge[cut + 1 :]) for merge in read.merges if (cut := merge.find(" ", 1)) > 0)
    return bpe_model(vocab, merges, **settings), added


def _byte_level_json(read: GgufVocabulary, path: Path) -> dict[str, Any]:
    splitting = SPLITTINGS.get(read.pattern or "")
    if splitting is None:
        named = f"the split pattern {read.pattern!r}" if read.pattern else "no split pattern"
        raise BaseTokenizerError(
            f"{path}: a GGUF that names {named} (tokenizer.ggml.pre), and so does not tell how text is split. Known "
            f"here: {', '.join(SPLITTINGS)}. Pass the folder or hub id of the model that it was made from."
        )
    model, added = _parts(read, ignore_merges=splitting.takes_whole)
    value = whole_json(
        model,
        added,
        normalizer=splitting.normalizer and {"type": splitting.normalizer},
        pre_tokenizer={"type": "Sequence", "pretokenizers": list(splitting.steps)},
        post_processor=None,
        decoder={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    )
    if not splitting.proves(value, read.special.get("bos_token"), read.special.get("eos_token")):
        raise BaseTokenizerError(
            f"{path}: names the split pattern {read.pattern!r}, but its ids of the text by which llama.cpp knows that "
            "pattern are not those of the publisher's tokenizer. Pass the folder or hub id of the model that it was "
            "made from."
        )
    return value


def _characters_json(read: GgufVocabulary) -> dict[str, Any]:
    model, added = _parts(read, unk_token=read.token_of("unk_token"), fuse_unk=True, byte_fallback=True)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
    decoders = [{**spaces, "pattern": {"String": SPACE_SYMBOL}, "content": " "}, {"type": "ByteFallback"}]
    return whole_json(
        model,
        added,
        normalizer=spaces,
        pre_tokenizer=None,
        post_processor=None,
        decoder={"type": "Sequence", "decoders": [*decoders, {"type": "Fuse"}]},
    )
