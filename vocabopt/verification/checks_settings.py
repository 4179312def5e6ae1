"""The checks that settings, merges and chat templates are those of the base, in each form of the tokenizer."""

import hashlib
import json
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from vocabopt.text.scripts import byte_guard, contains_target, piece_is_guarded
from vocabopt.tokenizer.chat_templates import cases, in_words, names_of, render, templates
from vocabopt.tokenizer.encoders import Kind, canonical_parts
from vocabopt.tokenizer.ranks import parse_ranks
from vocabopt.tokenizer.sentencepiece_model import NORMAL, read_model
from vocabopt.tokenizer.widening import with_pattern
from vocabopt.verification.checks import Findings, not_checked
from vocabopt.verification.pair import Pair
from vocabopt.verification.record import Check

SETTINGS = "Model settings and base merges are unchanged"
KEPT_SETTINGS = "Model settings are unchanged, kept merges are in their order"
TEMPLATES = "Chat templates render the same"

#: Settings of the model that change ids however the rest is written.
_ALWAYS = ("byte_fallback", "fuse_unk", "ignore_merges")
_USUALLY = ("unk_token", "dropout", "continuing_subword_prefix", "end_of_word_suffix")
_MODEL_FIELDS = {
    "normalizer_spec": (
        *("precompiled_charsmap", "add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"),
        "normalization_rule_tsv",
    ),
    "trainer_spec": (
        *("model_type", "byte_fallback", "treat_whitespace_as_suffix", "unk_id", "bos_id", "eos_id", "pad_id"),
        *("unk_piece", "bos_piece", "eos_piece", "pad_piece"),
    ),
}

Merge = tuple[str, str]


def settings(pair: Pair) -> Check:
    """Normaliser, pre-tokenizer, decoder, post-processor, truncation, the model's flags; the base's merges in order."""
    found = Findings()
    forms: list[Kind] = []
    widened = pair.widened
    # What was widened on purpose is said, and has a check of its own.
    of_base = pair.base if widened is None else with_pattern(pair.base, widened.pattern)
    if pair.base.encodes_as_json and pair.new.encodes_as_json:
        forms.append("tokenizer.json")
        _compare_parts(pair, of_base.tokenizer_json, pair.new.tokenizer_json, found)
        _compare_merges(pair, _kept_merges(pair), pair.new.tokenizer_json["model"], found)
    for kind in (kind for kind in pair.base.forms if kind in pair.new.forms):
        forms.append(kind)
        old, new = pair.base.forms[kind], pair.new.forms[kind]
        if kind == "tokenizer.model":
            _compare_models(pair, read_model(old), read_model(new), found)
        elif kind == "tiktoken":
            before, after = parse_ranks(old, kind), parse_ranks(new, kind)
            changed = [token for token, rank in before.items() if after.get(token) != rank and rank not in pair.reused]
            found.add("ranks changed", [(f"rank file: {t!r}", before[t], after.get(t, "no rank")) for t in changed])
            found.counts["n_ranks_changed"] = len(changed)
        else:
            tekken = json.loads(old)
            if widened is not None:
                tekken["config"]["pattern"] = widened.pattern
            _compare_tekken(pair, tekken, json.loads(new), found)
    if not forms:
        reason = f"{pair.base.written} and {pair.new.written} share no form in which they could be compared"
        return not_checked(SETTINGS, reason)
    notes = [] if widened is None else [f"split pattern widened for {', '.join(widened.scripts)}, on purpose"]
    notes += [f"{n:,} {kind}" for kind, n in found.wrong.items()]
    perhaps = "perhaps only written in another way: the checks on text judge"
    notes += [f"{n:,} {kind}, {perhaps}" for kind, n in found.doubtful.items()]
    counts = {"n_different": found.n_wrong, "n_written_otherwise": found.n_doubtful}
    name = KEPT_SETTINGS if pair.reused else SETTINGS
    return found.check(name, "; ".join(notes) or ", ".join(forms), counts)


def _note(found: Findings, what: str, base: Any, new: Any, *, certain: bool = True) -> None:
    """Note a setting that has changed; values are shown as JSON has them."""
    if base == new:
        return
    if not (isinstance(base, list) and isinstance(new, list)):
        values = (base, new)
        base, new = (v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str) for v in values)
    found.add("settings changed", [(what, base, new)], certain=certain)


def _compare_parts(pair: Pair, before: Mapping[str, Any], after: Mapping[str, Any], found: Findings) -> None:
    same = pair.has_same_writing
    old, new = canonical_parts(before), canonical_parts(after)
    for part in (*old, "truncation", "padding"):
        _note(found, part, old.get(part, before.get(part)), new.get(part, after.get(part)), certain=same)
    old, new = before["model"], after["model"]
    _note(found, "model", old.get("type"), new.get("type"))
    for flag in (*_ALWAYS, *_USUALLY):
        _note(found, flag, old.get(flag) or None, new.get(flag) or None, certain=same or flag in _ALWAYS)


# --- Merges of tokenizer.json ----------------------------------------------------------------------------------------


def _compare_merges(pair: Pair, before: Mapping[str, Any], after: Mapping[str, Any], found: Findings) -> None:
    """The base's merges are all there, in their order, and no new merge can take their parts away first."""
    if before.get("type") != "BPE" or after.get("type") != "BPE":
        return
    merges: list[Merge] = [(left, right) for left, right in before["merges"]]
    rank: dict[Merge, int] = {(left, right): i for i, (left, right) in enumerate(after["merges"])}
    made, same = {left + right for left, right in rank}, pair.has_same_writing
    lost = [merge for merge in merges if merge not in rank]
    for left, right in lost:
        # Another form of file may have other ways to one piece; a piece without a way is lost.
        row = (f"merge {left!r} + {right!r}", "is there", "is missing")
        found.add("base merges missing", [row], certain=same or left + right not in made)
    last = -1
    moved: list[Merge] = []
    for merge in (merge for merge in merges if merge in rank):
        if rank[merge] < last:
            moved.append(merge)
        last = max(last, rank[merge])
    rows = [(f"merge {a!r} + {b!r}", "in its place", "before merges that it came after") for a, b in moved]
    found.add("base merges moved", rows, certain=same)
    ahead = _ahead(pair, {*merges}, rank, last)
    where = f", before the base's last ({last:,})"
    rows = [(f"merge {a!r} + {b!r}", "no such merge", f"merge {rank[a, b]:,}{where}") for a, b in ahead]
    found.add("new merges without target characters come before base merges", rows, certain=same)
    found.counts |= {"n_base_merges": len(merges), "n_merges": len(rank), "n_merges_lost": len(lost)}
    found.counts |= {"n_merges_moved": len(moved), "n_new_merges_ahead": len(ahead)}


def _kept_merges(pair: Pair) -> Mapping[str, Any]:
    """The model of BASE without the merges that make a piece whose id is reused."""
    model: Mapping[str, Any] = pair.base.tokenizer_json["model"]
    if not pair.freed:
        return model
    return {**model, "merges": [(a, b) for a, b in model["merges"] if a + b not in pair.freed]}


def _ahead(pair: Pair, known: set[Merge], rank: Mapping[Merge, int], last: int) -> list[Merge]:
    """New merges that apply before the base's last, to text without target characters.

    One whose parts come into being only behind the base's last merge has nothing to apply to until then.
    """
    waiting = [
        merge
        for merge, place in rank.items()
        if place < last and merge not in known and not _is_target(pair, "".join(merge))
    ]
    early = {*pair.base.spelling.values()}
    found: list[Merge] = []
    while ready := [merge for merge in waiting if early.issuperset(merge)]:
        found += ready
        early.update("".join(merge) for merge in ready)
        done = {*ready}
        waiting = [merge for merge in waiting if merge not in done]
    return sorted(found, key=lambda merge: rank[merge])


def _is_target(pair: Pair, piece: str) -> bool:
    """Does the piece hold what only target text has?"""
    if not pair.scripts:
        return False
    text = pair.new.text_of(piece)
    if pair.new.is_byte_level and piece_is_guarded(text, byte_guard(pair.scripts)):
        return True
    return contains_target(text.decode(errors="ignore"), pair.scripts)


# --- The publisher's forms -------------------------------------------------------------------------------------------


def _compare_models(pair: Pair, before: Any, after: Any, found: Findings) -> None:
    """The pieces of a .model begin with the base's, and new ones that other text can hold score below all of them."""
    for spec, names in _MODEL_FIELDS.items():
        for name in names:
            old, new = (_short(getattr(getattr(model, spec), name)) for model in (before, after))
            _note(found, f"tokenizer.model: {name}", old, new)
    n = len(before.pieces)
    was, now = ([(piece.piece, piece.type, piece.score) for piece in model.pieces[:n]] for model in (before, after))
    pairs = enumerate(zip_longest(was, now, fillvalue=None))
    changed = [(i, a, b) for i, (a, b) in pairs if a != b and i not in pair.reused]
    found.add(
        "pieces of tokenizer.model changed",
        [(f"tokenizer.model: piece {i} (piece, type, score)", a, b) for i, a, b in changed],
    )
    lowest = min((score for _, kind, score in was if kind == NORMAL), default=0.0)
    new = [*after.pieces[n:], *(after.pieces[index] for index in pair.reused)]
    added = [piece for piece in new if piece.type == NORMAL and len(piece.piece) > 1]
    high = [piece for piece in added if piece.score >= lowest]
    harmful = [piece for piece in high if not _is_target(pair, piece.piece)]
    found.add(
        "new pieces of tokenizer.model without target characters do not score below the base's",
        [(f"tokenizer.model: {p.piece!r}", f"lowest score {lowest:g}", f"score {p.score:g}") for p in harmful],
    )
    found.counts |= {"n_model_pieces_changed": len(changed), "n_model_pieces_not_below": len(high)}
    found.counts |= {"n_model_pieces_not_below_without_target": len(harmful)}


def _short(value: Any) -> Any:
    """A field as it can be shown: tables of a normaliser by their hash."""
    return f"{len(value):,} bytes, sha256 {hashlib.sha256(value).hexdigest()}" if isinstance(value, bytes) else value


def _compare_tekken(pair: Pair, before: Mapping[str, Any], after: Mapping[str, Any], found: Findings) -> None:
    old, new = ({**value["config"], "special_tokens": value.get("special_tokens")} for value in (before, after))
    for name in ("pattern", "default_num_special_tokens", "version", "special_tokens"):
        _note(found, f"tekken.json: {name}", old.get(name), new.get(name))
    n_used = old["default_vocab_size"] - old["default_num_special_tokens"]
    was, now = ([entry["token_bytes"] for entry in value["vocab"][:n_used]] for value in (before, after))
    pairs = enumerate(zip_longest(was, now, fillvalue="no token"))
    first_id = old["default_num_special_tokens"]
    changed = [(i, a, b) for i, (a, b) in pairs if a != b and first_id + i not in pair.reused]
    found.add("ranks changed", [(f"tekken.json: rank {i} (base64)", a, b) for i, a, b in changed])
    found.counts["n_ranks_changed"] = len(changed)


def chat_templates(pair: Pair) -> Check:
    """Every chat template of either, by name, rendered for a few conversations."""
    before, after = templates(pair.base), templates(pair.new)
    names, new_names = names_of(pair.base), names_of(pair.new)
    if not before and not after:
        return not_checked(TEMPLATES, "neither has a chat template")
    found, n_rendered = Findings(), 0
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            lacks = pair.new if name in before else pair.base
            has, lacking = "has this template", "has no such template"
            row = (name, has, lacking) if name in before else (name, lacking, has)
            # A lone file cannot say what template belongs to it.
            found.add("missing", [row], certain=lacks.folder is not None)
            continue
        for case in cases():
            n_rendered += 1
            old = render(before[name], names, case)
            new = render(after[name], new_names, case)
            if old != new:
                found.add("differ", [(f"{name}: {in_words(case)}", repr(old), repr(new))])
    summary = f"{len(before.keys() | after.keys()):,} templates, {n_rendered:,} renderings"
    summary += f": {found.n_wrong:,} differ" if found.wrong else ""
    if found.doubtful:
        lone = "BASE" if pair.base.folder is None else "NEW"
        summary += f"; {lone} is a lone file, which has none to compare with"
    counts = {"n_base": len(before), "n_new": len(after), "n_rendered": n_rendered, "n_different": found.n_wrong}
    return found.check(TEMPLATES, summary, counts)
