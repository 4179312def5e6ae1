"""What happens to text before its words are merged, as steps that the playground's JavaScript carries out.

Steps, before (normaliser) and after added tokens of normalised text are taken out (pre-tokenizer):

    {"kind": "unicode", "form"}                           a normal form, of the characters active in it
    {"kind": "replace", "from", "to"}
    {"kind": "prepend", "text", "unless", "first"}        unless the text begins so; only at the start of the document?
    {"kind": "split", "pattern", "behavior", "invert"}    over symbols of classes (playground_pattern)

Code points are in runs: where each starts, less where the one before does, and its class.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models

from vocabopt.errors import PlaygroundError
from vocabopt.report.playground_pattern import Node, One, in_javascript, literal, parse, parts_for_one
from vocabopt.report.playground_points import active_in, partition, runs_of, split_off_by, white_space, word_characters
from vocabopt.tokenizer import Base
from vocabopt.tokenizer.families import steps_of
from vocabopt.tokenizer.patterns import GPT2_PATTERN

_NORMAL_FORMS = frozenset({"NFC", "NFD", "NFKC", "NFKD"})
_BEHAVIORS = frozenset({"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"})
#: More would not fit the byte that the page keeps of a character.
_MOST_CLASSES = 250


class _Separator(One):
    """One character that a pre-tokenizer of its own kind takes for a separator. source: the pre-tokenizer, as JSON."""

    def members(self) -> Any:
        return split_off_by(self.source)


def describe(base: Base) -> dict[str, Any]:
    """The pipeline of a base: `normalizer` and `pre_tokenizer` (steps), `classes` and `active` (runs of code points),
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
    after = [
        done for step in steps_of(document.get("pre_tokenizer"), "pretokenizers") for done in _pre_tokenizer_steps(step)
    ]
    nodes = [step["pattern"] for step in after if step["kind"] == "split"]
    ones = list(dict.fromkeys(one for node in nodes for one in parts_for_one(node)))
    if len(ones) > 64:
        raise PlaygroundError(f"The split patterns tell {len(ones)} sets of characters apart; 64 fit into the page.")
    runs, classes_of = partition([one.members() for one in ones])
    if (n_classes := max(runs[1]) + 1) > _MOST_CLASSES:
        raise PlaygroundError(f"The split patterns tell {n_classes} kinds of characters apart; {_MOST_CLASSES} fit.")
    classes = dict(zip(ones, classes_of, strict=True))
    for step in after:
        if step["kind"] == "split":
            step["pattern"] = in_javascript(step["pattern"], classes.__getitem__)
    forms = [step["form"] for step in before if step["kind"] == "unicode"]
    active = np.logical_or.reduce([active_in(form) for form in forms]) if forms else None
    added = _added_tokens(base)
    return {
        "normalizer": before,
        "pre_tokenizer": after,
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
        digits = _Separator(json.dumps({"type": "Digits", "individual_digits": False}))
        return [_split(digits, "Isolated" if step["individual_digits"] else "Contiguous")]
    if kind == "Punctuation" and step.get("behavior", "Isolated") in _BEHAVIORS:
        signs = _Separator(json.dumps({"type": "Punctuation", "behavior": "Contiguous"}))
        return [_split(signs, step.get("behavior", "Isolated"))]
    raise PlaygroundError(f"The pre-tokenizer has a step {kind}, which the page cannot repeat exactly.")


def _split(node: Node, behavior: str, *, invert: bool = False) -> dict[str, Any]:
    return {"kind": "split", "pattern": node, "behavior": behavior, "invert": invert}


def _added_tokens(base: Base) -> list[dict[str, Any]]:
    """Added tokens: `text` is what is looked for, in normalised text where `normalized`; of equal ones the first."""
    plain = json.loads(Tokenizer(models.BPE()).to_str())
    own = base.tokenizer_json.get("normalizer")
    normalizer = Tokenizer.from_str(json.dumps({**plain, "normalizer": own})).normalizer
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
