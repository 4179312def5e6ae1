"""The tokenizer of every size 0..max of a run, small enough to travel in the report, and the JavaScript that encodes.

A pack is gzip of a line of JSON and the sections that it names, each an array of numbers in LEB128:

    lengths, text      per id the bytes of its piece: of text in byte-level bases, of its spelling in UTF-8 in others;
                       none for pieces that text never gives, and for ids without a piece
    results, cuts      per merge in order of rank its id, less the one before (zigzag), and the length of its left part
    merges_of_row      how many merges each added token brings

A token's two parts are found by their bytes, so a merge costs two or three bits after gzip. The line of JSON holds the
pipeline and the numbers of tokens.

The pipeline is what happens to text before its words are merged, as steps: before (normaliser) and after added tokens
of normalised text are taken out (pre-tokenizer):

    {"kind": "unicode", "form"}                           a normal form, of the characters active in it
    {"kind": "replace", "from", "to"}
    {"kind": "prepend", "text", "unless", "first"}        unless the text begins so; only at the start of the document?
    {"kind": "split", "pattern", "behavior", "invert"}    over symbols of classes (tokenizer/split_patterns.py)

Code points are in runs: where each starts, less where the one before does, and its class.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tokenizers
from numpy.typing import NDArray
from tokenizers import models

from vocabopt.errors import PlaygroundError
from vocabopt.merging.extension import merges_by_row
from vocabopt.report.packs import differences, leb128
from vocabopt.text.utf8 import json_bytes
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.families import bytes_spelled, steps_of
from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.tokenizer.split_patterns import (
    One,
    Pattern,
    active_in,
    literal,
    parse,
    partition,
    runs_of,
    single,
    split_off_by,
    white_space,
    word_characters,
)
from vocabopt.tokenizer.widening import with_pattern

# --- The pipeline -----------------------------------------------------------------------------------------------------

_NORMAL_FORMS = frozenset({"NFC", "NFD", "NFKC", "NFKD"})
_BEHAVIORS = frozenset({"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"})
#: More would not fit the byte that the page keeps of a character.
_MOST_CLASSES = 250


class _Separator(One):
    """One character that a pre-tokenizer of its own kind takes for a separator. source: the pre-tokenizer, as JSON."""

    def members(self) -> Any:
        return split_off_by(self.source)


def describe(base: Tokenizer, as_it_is: Tokenizer | None = None) -> dict[str, Any]:
    """The pipeline of a base: `normalizer` and `pre_tokenizer` (steps; `pre_tokenizer_of_base` those of size 0, which
    is `as_it_is` where the base's pattern was widened), `classes` and `active` (runs of code points),
    `added` (tokens taken out of the text) and what those with flags need: `spaces`, `words` (runs).

    Raises:
        PlaygroundError: a part of it cannot be repeated exactly.
    """
    document = base.tokenizer_json
    if base.missing_bytes:
        raise PlaygroundError(
            f"The base has no token for the bytes {base.missing_bytes.hex(' ').upper()}, and the page cannot repeat "
            "what the tokenizers library does with them."
        )
    if base.cuts_bytes:
        raise PlaygroundError("The pre-tokenizer cuts bytes and not characters, which the page cannot repeat exactly.")
    before = [_normalizer_step(step) for step in steps_of(document.get("normalizer"), "normalizers")]
    after = _all_pre_tokenizer_steps(base)
    of_base = None if as_it_is is None else _all_pre_tokenizer_steps(as_it_is)
    splits = [step for step in (*after, *(of_base or ())) if step["kind"] == "split"]
    nodes = [step["pattern"] for step in splits]
    ones = list(dict.fromkeys(one for node in nodes for one in node.ones))
    if len(ones) > 64:
        raise PlaygroundError(f"The split patterns tell {len(ones)} sets of characters apart; 64 fit into the page.")
    runs, classes_of = partition([one.members() for one in ones])
    if (n_classes := max(runs[1]) + 1) > _MOST_CLASSES:
        raise PlaygroundError(f"The split patterns tell {n_classes} kinds of characters apart; {_MOST_CLASSES} fit.")
    classes = dict(zip(ones, classes_of, strict=True))
    for step in splits:
        step["pattern"] = step["pattern"].in_javascript(classes.__getitem__)
    forms = [step["form"] for step in before if step["kind"] == "unicode"]
    active = np.logical_or.reduce([active_in(form) for form in forms]) if forms else None
    added = _added_tokens(base)
    return {
        "normalizer": before,
        "pre_tokenizer": after,
        **({} if of_base is None else {"pre_tokenizer_of_base": of_base}),
        "classes": runs,
        "active": None if active is None else runs_of(active),
        "added": added,
        "spaces": runs_of(white_space()) if any(token["lstrip"] or token["rstrip"] for token in added) else None,
        "words": runs_of(word_characters()) if any(token["single_word"] for token in added) else None,
    }


def _normalizer_step(step: Mapping[str, Any]) -> dict[str, Any]:
    kind = step["type"]
    if kind in _NORMAL_FORMS:
        return {"kind": "unicode", "form": kind}
    if kind == "Prepend":
        return {"kind": "prepend", "text": step["prepend"], "unless": "", "first": False}
    if kind == "Replace" and step["pattern"].get("String"):
        return {"kind": "replace", "from": step["pattern"]["String"], "to": step["content"]}
    raise PlaygroundError(f"The normaliser has a step {kind}, which the page cannot repeat exactly.")


def _all_pre_tokenizer_steps(base: Tokenizer) -> list[dict[str, Any]]:
    steps = steps_of(base.tokenizer_json.get("pre_tokenizer"), "pretokenizers")
    return [done for step in steps for done in _pre_tokenizer_steps(step)]


def _pre_tokenizer_steps(step: Mapping[str, Any]) -> list[dict[str, Any]]:
    kind = step["type"]
    if kind == "Split" and step["behavior"] in _BEHAVIORS:
        pattern = step["pattern"]
        node = parse(pattern["Regex"]) if "Regex" in pattern else literal(pattern["String"])
        return [_split(node, step["behavior"], invert=step.get("invert", False))]
    if kind == "ByteLevel":
        space = {"kind": "prepend", "text": " ", "unless": " ", "first": False}
        split = [_split(parse(GPT2_PATTERN), "Isolated")] if step.get("use_regex", True) else []
        return [*([space] if step.get("add_prefix_space", True) else []), *split]
    if kind == "Metaspace" and not step.get("split", True):
        symbol, scheme = step["replacement"], step.get("prepend_scheme", "always")
        replace = {"kind": "replace", "from": " ", "to": symbol}
        prepend = {"kind": "prepend", "text": symbol, "unless": symbol, "first": scheme == "first"}
        return [replace, *([prepend] if scheme != "never" else [])]
    if kind == "Digits":
        digits = single(_Separator(json.dumps({"type": "Digits", "individual_digits": False})))
        return [_split(digits, "Isolated" if step["individual_digits"] else "Contiguous")]
    if kind == "Punctuation" and step.get("behavior", "Isolated") in _BEHAVIORS:
        signs = single(_Separator(json.dumps({"type": "Punctuation", "behavior": "Contiguous"})))
        return [_split(signs, step.get("behavior", "Isolated"))]
    raise PlaygroundError(f"The pre-tokenizer has a step {kind}, which the page cannot repeat exactly.")


def _split(pattern: Pattern, behavior: str, *, invert: bool = False) -> dict[str, Any]:
    return {"kind": "split", "pattern": pattern, "behavior": behavior, "invert": invert}


def _added_tokens(base: Tokenizer) -> list[dict[str, Any]]:
    """Added tokens: `text` is what is looked for, in normalised text where `normalized`; of equal ones the first."""
    plain = json.loads(tokenizers.Tokenizer(models.BPE()).to_str())
    own = base.tokenizer_json.get("normalizer")
    normalizer = tokenizers.Tokenizer.from_str(json.dumps({**plain, "normalizer": own})).normalizer
    tokens = []
    for token in base.tokenizer_json.get("added_tokens", []):
        if not token["content"]:
            continue
        flags = {name: bool(token.get(name)) for name in ("special", "normalized", "lstrip", "rstrip", "single_word")}
        text = token["content"]
        if flags["normalized"] and normalizer is not None:
            text = normalizer.normalize_str(text)
        tokens.append({"id": token["id"], "content": token["content"], "text": text, **flags})
    # As the library lines them up.
    return sorted(tokens, key=lambda token: not token["special"])


# --- The pack ---------------------------------------------------------------------------------------------------------

#: What the page's arrays are made for: ids and ranks together in the 53 bits of a JavaScript number.
_MOST_TOKENS = 1 << 21
_SCRIPTS = ("tokenizer_bpe.js", "tokenizer.js")


def engine_script() -> str:
    """The JavaScript that loads a pack and encodes with it: it defines VocaboptTokenizer, and VocaboptBpe below it."""
    folder = Path(__file__).parent / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)


def pack_tokenizer(base: Tokenizer, curve: pl.DataFrame, pattern: str | None = None) -> bytes:
    """What assets/tokenizer.js loads: every tokenizer that `vocabopt merge --size k` writes, 0 <= k <= len(curve), but
    for truncation and padding. pattern: the split pattern of all sizes but 0, where it was widened.

    Raises:
        PlaygroundError: the base has a part that the page cannot repeat exactly.
    """
    model = base.tokenizer_json["model"]
    n_tokens = base.n_tokens + len(curve)
    if n_tokens > _MOST_TOKENS:
        raise PlaygroundError(f"The tokenizer has {n_tokens:,} tokens; {_MOST_TOKENS:,} fit into the page.")
    is_byte_level = base.family == "byte-level-bpe"
    ids: dict[str, int] = dict(model["vocab"])
    for token in base.tokenizer_json.get("added_tokens", []):
        ids.setdefault(token["content"], token["id"])
    ids |= {piece: index for index, piece in enumerate(curve["piece"], base.n_tokens)}
    rows = merges_by_row(base, curve)
    # Of a pair that comes twice the last, which is the one that `tokenizers` keeps.
    own = list(dict.fromkeys((left, right) for left, right in reversed(model["merges"])))[::-1]
    merges = own + [pair for row in rows for pair in row]
    if is_byte_level:
        ids = {piece: index for piece, index in ids.items() if bytes_spelled(piece) is not None}
        merges = [(left, right) for left, right in merges if left in ids and right in ids]
    if len(set(merges)) < len(merges):
        raise PlaygroundError("A merge of the base comes again among those of added tokens.")
    pieces = [""] * n_tokens
    for piece, index in ids.items():
        pieces[index] = piece
    texts, lengths = _texts(pieces, is_byte_level=is_byte_level)
    n_bytes = len if is_byte_level else lambda piece: len(piece.encode())
    sections = {
        "lengths": leb128(lengths),
        "text": texts,
        "results": differences(0, [ids[left + right] for left, right in merges]),
        "cuts": leb128([n_bytes(left) for left, _ in merges]),
        "merges_of_row": leb128([len(row) for row in rows]),
    }
    byte_ids = None
    if not is_byte_level:
        # An ASCII character that is a piece itself may have no byte token; some bytes are in no text.
        known = {byte: index for index, byte in enumerate(base.byte_values) if byte >= 0}
        byte_ids = [known.get(byte, model["vocab"].get(chr(byte), 0)) for byte in range(256)]
    head = {
        "family": base.family,
        "n_base_tokens": base.n_tokens,
        "n_added": len(curve),
        "n_merges": len(merges),
        "ignores_merges": bool(model.get("ignore_merges")),
        "byte_ids": byte_ids,
        **(describe(base) if pattern is None else describe(with_pattern(base, pattern), base)),
        "sections": {name: len(data) for name, data in sections.items()},
    }
    line = json_bytes(head, indent=None, separators=(",", ":"))
    # Level 9 takes five times as long as 6, for 0.8 % less.
    return gzip.compress(b"\n".join([line, b"".join(sections.values())]), compresslevel=6, mtime=0)


def _texts(pieces: Sequence[str], *, is_byte_level: bool) -> tuple[bytes, NDArray[np.int64]]:
    """The bytes of all pieces, and how many each has."""
    if is_byte_level:
        data = bytes_spelled("".join(pieces))
        assert data is not None, "others were left out"
        return data, np.asarray([len(piece) for piece in pieces])
    encoded = [piece.encode() for piece in pieces]
    return b"".join(encoded), np.asarray([len(piece) for piece in encoded])
