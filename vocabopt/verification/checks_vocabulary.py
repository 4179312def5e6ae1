"""Checks on the vocabulary: ids, special tokens, spelling, pieces from their own text, what llama.cpp makes of it."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from vocabopt.text.scripts import contains_target
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chat_templates import NAMES, names_of
from vocabopt.tokenizer.encoders import Kind
from vocabopt.tokenizer.hard_strings import LLAMA_CPP_TEXT
from vocabopt.tokenizer.sentencepiece_model import NORMAL, read_model
from vocabopt.verification.checks import Findings, not_checked
from vocabopt.verification.pair import Pair
from vocabopt.verification.record import Check, Status

BASE_IDS = "Base ids spell the same pieces, and new ids follow them"
KEPT_IDS = "Kept ids spell the same pieces, reused ids the new ones"
SPECIAL_TOKENS = "Special tokens are unchanged"
SPELLING = "No new token is spelled like another"
LLAMA_CPP = "llama.cpp recognises the same pre-tokenizer"
BASE_PIECES = "Base pieces still come from their own text"
KEPT_PIECES = "Kept pieces still come from their own text"
REACHABILITY = "Every new token comes from its own text"

#: Flags of an added token that decide where in a text it is found.
_MATCHING_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
#: The forms in which single pieces can be encoded, and what they are called in the names of counts.
_PIECE_FORMS: Mapping[Kind, str] = {"tokenizer.json": "json", "tokenizer.model": "model"}
_NO_FORM = "there is no form in which single pieces can be encoded"


def base_ids(pair: Pair) -> Check:
    """Every id of BASE spells in NEW what it did, or what extension.json says that it stands for; the ids that BASE
    lacks follow its last without a hole."""
    before, after, found = pair.base.spelling, pair.new.spelling, Findings()
    new = [index for index in pair.new_ids if index not in pair.reused]
    expected = {**before, **{index: reused.new_piece for index, reused in pair.reused.items()}}
    changed = [index for index in before if after.get(index) != expected[index]]
    changed += [index for index, reused in pair.reused.items() if before.get(index) != reused.old_piece]
    found.add("changed", [(f"id {i}", repr(before.get(i)), _or_none(after.get(i))) for i in changed])
    strays = sorted({*new} ^ {*range(pair.base.n_tokens, pair.base.n_tokens + len(new))})
    found.add("stray", [(f"new id {i}", "no token", repr(after[i]) if i in after else "a hole") for i in strays])
    summary = f"{len(before):,} ids of the base, {len(new):,} new ones"
    if pair.reused:
        summary = f"{len(before) - len(pair.reused):,} ids kept, {len(pair.reused):,} reused, {len(new):,} more"
    if found.wrong:
        summary += f": {len(changed):,} changed, {len(strays):,} out of order or missing"
    counts = {"n_base": len(before), "n_new": len(new), "n_changed": len(changed), "n_out_of_order": len(strays)}
    counts |= {"n_reused": len(pair.reused)} if pair.reused else {}
    return found.check(KEPT_IDS if pair.reused else BASE_IDS, summary, counts)


def _or_none(piece: str | None) -> str:
    return "no token" if piece is None else repr(piece)


def special_tokens(pair: Pair) -> Check:
    """Added, control and user-defined tokens keep content, id and flags; bos_token and its like keep their names."""
    before, after, found = pair.base.added, pair.new.added, Findings()
    more = after.keys() - before.keys()
    for index, token in before.items():
        now, row = after.get(index, {}), (f"id {index}", _shown_token(token), _shown_token(after.get(index)))
        if (token["content"], bool(token.get("special"))) != (now.get("content"), bool(now.get("special"))):
            found.add("tokens", [row])
        elif any(bool(token.get(flag)) != bool(now.get(flag)) for flag in _MATCHING_FLAGS):
            found.add("flags", [row], certain=pair.has_same_writing)
    # A piece of the base that has become an added token is taken out of text everywhere.
    taken = sorted(more & pair.base.spelling.keys())
    found.add("pieces", [(f"id {index}", _shown_token(None), _shown_token(after[index])) for index in taken])
    named, now_named = names_of(pair.base), names_of(pair.new)
    if named and now_named:
        lost = [name for name in NAMES if named.get(name) is not None and named[name] != now_named.get(name)]
        found.add("names", [(name, repr(named[name]), _or_none(now_named.get(name))) for name in lost])
    n_new = len(more) - len(taken)
    summary = f"special and added tokens: {len(before):,}"
    summary += f", in the new one {n_new:,} more" if n_new else ""
    summary += f"; {found.n_wrong:,} changed" if found.wrong else ""
    if n := found.n_doubtful:
        summary += f"; {n:,} are matched by other rules, as another form of file has them"
    counts = {"n_base": len(before), "n_changed": found.n_wrong, "n_matched_otherwise": n, "n_new": n_new}
    return found.check(SPECIAL_TOKENS, summary, counts)


def _shown_token(token: Mapping[str, Any] | None) -> str:
    if token is None:
        return "no added token"
    flags = [flag for flag in ("special", *_MATCHING_FLAGS) if token.get(flag)]
    return f"{token['content']!r} ({', '.join(flags) or 'plain'})"


def spelling(pair: Pair) -> Check:
    """A new token has bytes of its own: no token of the base, no other new one and no special token has the same."""
    owners: dict[bytes, list[int]] = {}
    for index in pair.new.spelling:
        token = pair.new.added.get(index)
        text = token["content"].encode() if token is not None else pair.new.texts.get(index)
        if text is not None:
            owners.setdefault(text, []).append(index)
    new, found = {*pair.new_ids}, Findings()
    twice = [(sorted(ids), text) for text, ids in owners.items() if len(ids) > 1 and not new.isdisjoint(ids)]
    for ids, text in sorted(twice):
        old = pair.base.show([index for index in ids if index in pair.base.spelling])
        found.add("twice", [(repr(text.decode(errors="backslashreplace")), old or "no token", pair.new.show(ids))])
    summary = f"{len(twice):,} of {len(new):,} new tokens" if twice else f"{len(new):,} new tokens"
    return found.check(SPELLING, summary, {"n_new": len(new), "n_twice": len(twice)})


def llama_cpp(pair: Pair) -> Check:
    """The ids by which convert_hf_to_gguf.py of llama.cpp recognises a pre-tokenizer.

    With special tokens, as the converter has it; without them where sentencepiece encodes for one of the two. It
    matters for byte-level tokenizers only.
    """
    if pair.base.encodes_as_json and pair.new.encodes_as_json:
        before, after = (side.full.encode(LLAMA_CPP_TEXT).ids for side in (pair.base, pair.new))
    else:
        before, after = (side.encode([LLAMA_CPP_TEXT])[0] for side in (pair.views[0].base, pair.views[0].new))
    old, new = (hashlib.sha256(str(ids).encode()).hexdigest()[:16] for ids in (before, after))
    is_used, has_target = pair.base.is_byte_level, not pair.scripts or contains_target(LLAMA_CPP_TEXT, pair.scripts)
    what = "the new tokens are for"
    if pair.reused:
        # Characters of many scripts, and long runs of white space: their rows are the first to go.
        has_target, what = True, "the freed rows were for"
    found, summary = Findings(), f"hash {new}..."
    if before == after:
        summary += f" as before{'' if is_used else '; not used for SentencePiece tokenizers'}"
    elif not is_used:
        summary += " differs, and is not used for SentencePiece tokenizers"
    else:
        found.add("hash", [("llama.cpp's fixed text", *pair.show(before, after))], certain=not has_target)
        summary += f", before {old}...: "
        summary += (
            f"its fixed text holds what {what}. Add the new hash to get_vocab_base_pre in "
            "convert_hf_to_gguf.py, with the name the base has there (its tokenizer.ggml.pre)"
            if has_target
            else "the converter would not know it, or take it for another"
        )
    if (widened := pair.widened) is not None:
        # It is known by this name, and cuts otherwise.
        scripts = ", ".join(widened.scripts)
        found.add("pattern", [("split pattern", "known by name", widened.pattern)], certain=False)
        summary += (
            ". But llama.cpp knows split patterns by name, and has none that is widened: it would cut words of "
            f"{scripts} as the base does. It needs a name in get_vocab_base_pre of convert_hf_to_gguf.py and in "
            "llama-vocab.cpp, and a function in unicode.cpp that splits as extension.json says (widened.pattern: "
            "std::regex has no lookbehind)"
        )
    return found.check(LLAMA_CPP, summary, {"n_changed": int(before != after)})


# --- Single pieces ----------------------------------------------------------------------------------------------------


def _by_form(forms: Mapping[Kind, tuple[int, int]], what: str) -> str:
    """How many of the pieces judged, forms with the same numbers together."""
    said: dict[str, list[str]] = {}
    for kind, (n_bad, n_judged) in forms.items():
        said.setdefault(f"{n_bad:,} of {n_judged:,} {what}", []).append(kind)
    return "; ".join(f"{text} ({', '.join(kinds)})" for text, kinds in said.items())


def base_pieces(pair: Pair) -> Check:
    """Tokens of the base that their own text (no dummy prefix) gave before, and does not give any more.

    Pieces that are cut inside a character, which have no text of their own, are judged by merges alone.
    """
    base, new, found = pair.base, pair.new, Findings()
    counts: dict[str, int] = {}
    forms: dict[Kind, tuple[int, int]] = {}
    whole = {index: text for index, text in base.whole_texts.items() if index not in pair.reused}
    for kind in (kind for kind in _PIECE_FORMS if kind in base.bare and kind in new.bare):
        sources = [(whole, base.bare[kind], new.bare[kind])]
        if kind == "tokenizer.json" and base.by_merges is not None and new.by_merges is not None:
            cut = {index: base.spelling[index] for index in base.cut_ids if index not in pair.reused}
            sources.append((cut, base.by_merges, new.by_merges))
        n_judged, broken = 0, []
        for texts, before, after in sources:
            old, now = (encoder.encode([*texts.values()]) for encoder in (before, after))
            judged = [(text, a, b) for (index, text), a, b in zip(texts.items(), old, now, strict=True) if a == [index]]
            n_judged += len(judged)
            broken += [row for row in judged if row[1] != row[2]]
        found.add(kind, ((f"{kind}: {text!r}", *pair.show(a, b)) for text, a, b in broken), len(broken))
        forms[kind] = len(broken), n_judged
        counts |= {f"n_judged_{_PIECE_FORMS[kind]}": n_judged, f"n_broken_{_PIECE_FORMS[kind]}": len(broken)}
    name = KEPT_PIECES if pair.reused else BASE_PIECES
    if not forms:
        return not_checked(name, _NO_FORM)
    return found.check(name, _by_form(forms, "base pieces broken"), counts)


# --- New tokens ------------------------------------------------------------------------------------------------------


def reachability(pair: Pair, used: set[int], n_target_lines: int) -> Check:
    """A new token that its own text does not give is unreachable, unless a reachable one is built through it: a step.

    Args:
        used: tokens that occur in the given target text; n_target_lines: lines of that text. With 0 lines, unused
            tokens and scaffold (unused steps) are not counted.
    """
    base, new, found = pair.base, pair.new, Findings()
    counts: dict[str, int] = {}
    forms: dict[Kind, tuple[int, int]] = {}
    steps: set[int] = set()
    n_whole = 0
    for kind in (kind for kind in _PIECE_FORMS if kind in new.bare):
        alone = _encoded_alone(pair, kind)
        missed = [index for index, ids in alone.items() if ids != [index]]
        # How each token is built takes a second for 40,000, and tells nothing where all are reached by their merges
        # and no text says which are used.
        takes_whole = new.encodes_as_json and bool(new.tokenizer_json["model"].get("ignore_merges"))
        steps_here: set[int] = set()
        if missed or n_target_lines > 0 or takes_whole:
            steps_here, whole_here = _steps(pair, kind, [index for index, ids in alone.items() if ids == [index]])
            n_whole += whole_here
        steps |= steps_here
        lost = [index for index in missed if index not in steps_here]
        before = base.bare.get(kind) or next(iter(base.encoders.values()))
        texts = ((index, new.texts[index].decode(errors="backslashreplace")) for index in lost)
        found.add(
            kind,
            ((f"{kind}: {t!r}", base.show(before.encode([t])[0]), new.show(alone[index])) for index, t in texts),
            len(lost),
        )
        forms[kind], n_missed = (len(lost), len(alone)), len(missed)
        numbers = {"n_judged": len(alone), "n_unreachable": n_missed}
        numbers |= {"n_steps_unreachable": n_missed - len(lost), "n_lost": len(lost)}
        counts |= {f"{name}_{_PIECE_FORMS[kind]}": n for name, n in numbers.items()}
    if not forms:
        return not_checked(REACHABILITY, _NO_FORM)
    notes = [_by_form(forms, "new tokens unreachable")]
    if n_whole:
        counts["n_whole_pretokens_only"] = n_whole
        notes.append(f"{n_whole:,} come only as a whole pre-token (ignore_merges), not from their merges")
    if pair.new_ids and n_target_lines:
        unused = [index for index in pair.new_ids if index not in used]
        n_scaffold = sum(index in steps for index in unused)
        counts |= {"n_target_lines": n_target_lines, "n_unused": len(unused), "n_scaffold": n_scaffold}
        # Without a guard all text is target text.
        text = "target text" if pair.scripts else "the --text given"
        notes.append(
            f"{len(unused):,} not used on {n_target_lines:,} lines of {text}, {n_scaffold:,} of them scaffold (steps "
            "to other new tokens)"
        )
    elif pair.new_ids:
        notes.append("scaffold: not checked (give target text with --text)")
    status: Status | None = "warn" if n_whole and not found.wrong else None
    return found.check(REACHABILITY, "; ".join(notes), counts, status=status)


def _encoded_alone(pair: Pair, kind: Kind) -> dict[int, list[int]]:
    """New id -> what its own text gives; one that is cut inside a character is judged by merges alone."""
    tokenizer, new = pair.new, {*pair.new_ids}
    whole = {index: text for index, text in tokenizer.whole_texts.items() if index in new}
    found = dict(zip(whole, tokenizer.bare[kind].encode([*whole.values()]), strict=True))
    if not tokenizer.can_grow:
        # Some pipelines drop spaces and let the dummy prefix stand for one.
        spaced = [index for index, ids in found.items() if ids != [index] and whole[index].startswith(" ")]
        rows = tokenizer.encoders[kind].encode([whole[index][1:] for index in spaced])
        found |= {index: ids for index, ids in zip(spaced, rows, strict=True) if ids == [index]}
    cut = [index for index in tokenizer.cut_ids if index in new]
    if cut and kind == "tokenizer.json" and tokenizer.by_merges is not None:
        rows = tokenizer.by_merges.encode([tokenizer.spelling[index] for index in cut])
        found |= dict(zip(cut, rows, strict=True))
    return dict(sorted(found.items()))


def _steps(pair: Pair, kind: Kind, reached: list[int]) -> tuple[set[int], int]:
    """New tokens through which the new ones in `reached` are built; and how many of those no merges build."""
    rank = _rank(pair.new, kind)
    if rank is None:
        return set(), 0
    id_of = {pair.new.spelling[index]: index for index in pair.new_ids}
    steps: set[int] = set()
    n_whole = 0
    for index in reached:
        piece = pair.new.spelling[index]
        if len(piece) == 1:
            continue
        made = built_through(piece, rank)
        n_whole += made[-1:] != [piece]
        steps |= {id_of[step] for step in (*piece, *made[:-1]) if step in id_of}
    return steps, n_whole


def _rank(tokenizer: Tokenizer, kind: Kind) -> Callable[[str, str], float | None] | None:
    """The order of merges in a form: lower first; None where it has none."""
    if kind == "tokenizer.model":
        model = read_model(tokenizer.forms[kind])
        scores = {piece.piece: -piece.score for piece in model.pieces if piece.type == NORMAL}
        return lambda left, right: scores.get(left + right)
    if tokenizer.tokenizer_json["model"].get("type") != "BPE":
        return None
    ranks = {(left, right): i for i, (left, right) in enumerate(tokenizer.tokenizer_json["model"]["merges"])}
    return lambda left, right: ranks.get((left, right))


def built_through(piece: str, rank: Callable[[str, str], float | None]) -> list[str]:
    """The pieces that BPE makes of the characters of `piece`, in order; the last is `piece` if merges lead to it."""
    symbols = list(piece)
    made: list[str] = []
    while True:
        pairs = zip(symbols, symbols[1:], range(len(symbols)), strict=False)
        ranked = [(found, i) for left, right, i in pairs if (found := rank(left, right)) is not None]
        if not ranked:
            return made
        _, i = min(ranked)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        made.append(symbols[i])
