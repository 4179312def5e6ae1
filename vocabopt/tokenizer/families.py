"""The two families of base tokenizers that merges can grow, recognised in tokenizer.json; all others are refused."""

import codecs
import functools
from collections.abc import Mapping
from typing import Any, Literal

from vocabopt.errors import BaseTokenizerError
from vocabopt.tokenizer.sentencepiece_model import SPACE_SYMBOL
from vocabopt.tokenizer.tokenizer_json import isolated_symbols

Family = Literal["sentencepiece-bpe", "byte-level-bpe"]
Prefix = Literal["always", "first", "never"]

_UNICODE_NORMALIZERS = frozenset({"NFC", "NFD", "NFKC", "NFKD"})
#: Steps that may follow ByteLevel: they cut what it has written and change no character of it.
_CUTTING_STEPS = frozenset({"Digits", "Punctuation", "Split"})
#: Bytes that occur in no UTF-8 text, so a vocabulary loses nothing without them.
_NEVER_IN_UTF8 = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})
_CONTINUATION_BYTES = range(0x80, 0xC0)


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


@functools.cache
def _alphabet() -> tuple[str, Any]:
    """The same as `codecs` takes it, which is six times as fast as a lookup per character."""
    chars = "".join(char_of_byte())
    return chars, codecs.charmap_build(chars)


def spelled(data: bytes) -> str:
    """Bytes in GPT-2's printable alphabet."""
    return codecs.charmap_decode(data, "strict", _alphabet()[0])[0]


def bytes_spelled(piece: str) -> bytes | None:
    """The inverse; None for a piece with a character that is no byte's."""
    try:
        return codecs.charmap_encode(piece, "strict", _alphabet()[1])[0]
    except UnicodeEncodeError:
        return None


def decoded(data: bytes) -> str | None:
    """Bytes as text; None for those that begin or end inside a character."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def missing_bytes(vocab: Mapping[str, int]) -> bytes:
    """Bytes of UTF-8 text for which a byte-level vocabulary has no token."""
    return bytes(byte for byte, char in enumerate(char_of_byte()) if char not in vocab and byte not in _NEVER_IN_UTF8)


def recognise(value: Mapping[str, Any], place: str) -> tuple[Family, Prefix, bool]:
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
    steps = steps_of(value.get("pre_tokenizer"), "pretokenizers")
    if any(step["type"] == "ByteLevel" for step in steps):
        return _recognise_byte_level(value, steps, place)
    return _recognise_sentencepiece(value, steps, place)


def steps_of(part: Any, key: str) -> list[dict[str, Any]]:
    """The steps of a normaliser ("normalizers") or pre-tokenizer ("pretokenizers"), sequences in it flattened."""
    if part is None:
        return []
    return [step for inner in part[key] for step in steps_of(inner, key)] if part["type"] == "Sequence" else [part]


def _recognise_byte_level(
    value: Mapping[str, Any], steps: list[dict[str, Any]], place: str
) -> tuple[Family, Prefix, bool]:
    at = next(index for index, step in enumerate(steps) if step["type"] == "ByteLevel")
    if odd := [step["type"] for step in steps[at + 1 :] if step["type"] not in _CUTTING_STEPS]:
        raise BaseTokenizerError(
            f"{place}: its pre-tokenizer has the step {odd[0]} after ByteLevel; steps that may follow it are "
            f"{', '.join(sorted(_CUTTING_STEPS))}. Pass another base."
        )
    for step in steps_of(value.get("normalizer"), "normalizers"):
        if step["type"] not in _UNICODE_NORMALIZERS:
            raise BaseTokenizerError(
                f"{place}: its normaliser has a step {step['type']}; byte-level bases are supported with Unicode "
                "normal forms (NFC, NFD, NFKC, NFKD) only."
            )
    model, missing = value["model"], missing_bytes(value["model"]["vocab"])
    # Where a byte that begins a character is missing, that character is lost and no other: pieces grown from whole
    # text never match what is left of it. A continuation byte stands in the middle of many characters.
    if inside := [byte for byte in missing if byte in _CONTINUATION_BYTES]:
        raise BaseTokenizerError(
            f"{place}: its vocabulary lacks {len(missing)} of the 243 bytes of UTF-8 text, {len(inside)} of them "
            f"inside characters ({inside[0]:02X}, ...), so characters would be torn. Pass another base."
        )
    if missing and model.get("byte_fallback"):
        raise BaseTokenizerError(
            f"{place}: its byte-level BPE lacks the bytes {missing.hex(' ').upper()} and has byte_fallback set, which "
            "is not supported. Pass another base."
        )
    add_prefix: bool = steps[at].get("add_prefix_space", False)
    normal_forms = {step["type"] for step in steps_of(value.get("normalizer"), "normalizers")}
    if add_prefix and normal_forms & {"NFKC", "NFKD"}:
        raise BaseTokenizerError(
            f"{place}: it adds a space before text that does not begin with one, after its normaliser "
            f"({', '.join(sorted(normal_forms))}) may have made other characters a space. Pass another base."
        )
    if add_prefix and at > 0:
        raise BaseTokenizerError(
            f"{place}: its ByteLevel step adds a space before every earlier split, which is not supported."
        )
    return "byte-level-bpe", ("always" if add_prefix else "never"), True


def _recognise_sentencepiece(
    value: Mapping[str, Any], steps: list[dict[str, Any]], place: str
) -> tuple[Family, Prefix, bool]:
    model, vocab = value["model"], value["model"]["vocab"]
    # Of the byte pieces that some text needs: not those of an ASCII character that is itself a piece (Gemma 1: a tab).
    needed = (byte for byte in range(256) if byte not in _NEVER_IN_UTF8 and not (byte < 0x80 and chr(byte) in vocab))
    missing = [piece for piece in (f"<0x{byte:02X}>" for byte in needed) if piece not in vocab]
    if not model.get("byte_fallback") or missing:
        lacks = f" for all bytes (it lacks {missing[0]})" if model.get("byte_fallback") else ""
        raise BaseTokenizerError(
            f"{place}: its BPE is neither byte-level nor has byte fallback{lacks}, so plain text can become <unk> and "
            "be lost. Pass a base with byte fallback (Mistral, Llama 2) or a byte-level one (GPT-2, Qwen, Llama 3)."
        )
    normalizers = steps_of(value.get("normalizer"), "normalizers")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
    prepend = {"type": "Prepend", "prepend": SPACE_SYMBOL}
    isolates = bool(isolated_symbols(value))
    if (not steps or isolates) and normalizers == [prepend, replace]:
        return "sentencepiece-bpe", "always", False
    # Gemma splits at spaces after replacing them, which finds none: the step does nothing.
    idle = [step for step in steps if step["type"] == "Split" and step["pattern"] == {"String": " "}]
    if normalizers == [replace] and (len(idle) == len(steps) or isolates):
        return "sentencepiece-bpe", "never", False
    metaspace = steps[0] if len(steps) == 1 and steps[0]["type"] == "Metaspace" and not normalizers else {}
    if metaspace.get("replacement") == SPACE_SYMBOL and not metaspace.get("split", True):
        return "sentencepiece-bpe", metaspace.get("prepend_scheme", "always"), True
    kinds = [step["type"] for step in normalizers], [step["type"] for step in steps]
    raise BaseTokenizerError(
        f"{place}: has byte fallback, but its normaliser {kinds[0]} and pre-tokenizer {kinds[1]} are not those of "
        "Llama, Mistral or Gemma, so its chunks cannot be told."
    )
