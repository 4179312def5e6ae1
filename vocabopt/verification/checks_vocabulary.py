"""Checks on the vocabulary: ids, special tokens, spelling, pieces from their own text, what llama.cpp makes of it."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from vocabopt.text.scripts import contains_target
from vocabopt.text.utf8 import json_value
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.encoders import Kind
from vocabopt.tokenizer.hard_strings import LLAMA_CPP_TEXT
from vocabopt.tokenizer.sentencepiece_model import NORMAL, read_model
from vocabopt.verification.checks import N_EXAMPLES, Check, Example, NotChecked, first_examples
from vocabopt.verification.pair import Pair

BASE_IDS = "Base ids spell the same pieces, and new ids follow them"
SPECIAL_TOKENS = "Special tokens are unchanged"
SPELLING = "No new token is spelled like another"
LLAMA_CPP = "llama.cpp recognises the same pre-tokenizer"
BASE_PIECES = "Base pieces still come from their own text"
REACHABILITY = "Every new token comes from its own text"

#: Flags of an added token that decide where in a text it is found.
_MATCHING_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
#: Roles of special tokens in tokenizer_config.json.
NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
#: The forms in which single pieces can be encoded, and what they are called in the names of counts.
_PIECE_FORMS: Mapping[Kind, str] = {"tokenizer.json": "json", "tokenizer.model": "model"}


class BaseIds(Check, frozen=True, kw_only=True):
    """n_base, n_new: ids. n_changed: of the base. n_out_of_order: new ones, holes included."""

    name: str = BASE_IDS
    n_base: int
    n_new: int
    n_changed: int
    n_out_of_order: int


def base_ids(pair: Pair) -> BaseIds:
    """Every id of BASE spells in NEW what it did; the ids that BASE lacks follow its last without a hole."""
    before, after = pair.base.spelling, pair.new.spelling
    changed = [index for index in before if after.get(index) != before[index]]
    expected = range(pair.base.n_tokens, pair.base.n_tokens + len(pair.new_ids))
    strays = sorted({*pair.new_ids} ^ {*expected})
    examples = [
        *(Example(what=f"id {i}", base=repr(before[i]), new=_or_none(after.get(i))) for i in changed),
        *(Example(what=f"new id {i}", base="no token", new=repr(after[i]) if i in after else "a hole") for i in strays),
    ]
    return BaseIds(
        status="fail" if changed or strays else "pass",
        n_base=len(before),
        n_new=len(pair.new_ids),
        n_changed=len(changed),
        n_out_of_order=len(strays),
        examples=first_examples(examples),
    )


def _or_none(piece: str | None) -> str:
    return "no token" if piece is None else repr(piece)


class SpecialTokens(Check, frozen=True, kw_only=True):
    """n_base, n_new: added tokens of the base, and those it lacks. n_matched_otherwise: found by other rules."""

    name: str = SPECIAL_TOKENS
    n_base: int
    n_changed: int
    n_matched_otherwise: int
    n_new: int


def special_tokens(pair: Pair) -> SpecialTokens:
    """Added, control and user-defined tokens keep content, id and flags; bos_token and its like keep their names."""
    wrong: list[Example] = []
    doubtful: list[Example] = []
    for index, token in pair.base.added.items():
        if (now := pair.new.added.get(index)) is None or _identity(now) != _identity(token):
            wrong.append(_token_example(index, token, now))
        elif any(bool(token.get(flag)) != bool(now.get(flag)) for flag in _MATCHING_FLAGS):
            (wrong if pair.has_same_writing else doubtful).append(_token_example(index, token, now))
    more = {index: token for index, token in pair.new.added.items() if index not in pair.base.added}
    # A piece of the base that has become an added token is taken out of text everywhere.
    wrong += [_token_example(i, None, token) for i, token in more.items() if i in pair.base.spelling]
    named, named_now = names_of(pair.base), names_of(pair.new)
    if named and named_now:
        for name in (name for name in NAMES if named.get(name) is not None):
            if named_now.get(name) != named[name]:
                wrong.append(Example(what=name, base=repr(named[name]), new=_or_none(named_now.get(name))))
    return SpecialTokens(
        status="fail" if wrong else "warn" if doubtful else "pass",
        n_base=len(pair.base.added),
        n_changed=len(wrong),
        n_matched_otherwise=len(doubtful),
        n_new=sum(index not in pair.base.spelling for index in more),
        examples=first_examples([*wrong, *doubtful]),
    )


def _identity(token: Mapping[str, Any]) -> tuple[str, bool]:
    return token["content"], bool(token.get("special"))


def _token_example(index: int, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Example:
    return Example(what=f"id {index}", base=_shown_token(before), new=_shown_token(after))


def _shown_token(token: Mapping[str, Any] | None) -> str:
    if token is None:
        return "no added token"
    flags = [flag for flag in ("special", *_MATCHING_FLAGS) if token.get(flag)]
    return f"{token['content']!r} ({', '.join(flags) or 'plain'})"


def names_of(tokenizer: Tokenizer) -> dict[str, str | None]:
    """bos_token and its like, as tokenizer_config.json or special_tokens_map.json name them; {} without these files."""
    names: dict[str, str | None] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            config = json_value(tokenizer.companions.get(file, b"{}"))
        except ValueError:
            continue
        for name in NAMES:
            if config.get(name) is not None:
                value = config[name]
                names[name] = value.get("content") if isinstance(value, dict) else value
    return names


class Spelling(Check, frozen=True, kw_only=True):
    """n_twice: spellings of new tokens that another token has."""

    name: str = SPELLING
    n_new: int
    n_twice: int


def spelling(pair: Pair) -> Spelling:
    """A new token has bytes of its own: no token of the base, no other new one and no special token has the same."""
    owners: dict[bytes, list[int]] = {}
    for index in pair.new.spelling:
        token = pair.new.added.get(index)
        text = token["content"].encode() if token is not None else pair.new.texts.get(index)
        if text is not None:
            owners.setdefault(text, []).append(index)
    new = {*pair.new_ids}
    twice = {text: sorted(ids) for text, ids in owners.items() if len(ids) > 1 and not new.isdisjoint(ids)}
    return Spelling(
        status="fail" if twice else "pass",
        n_new=len(new),
        n_twice=len(twice),
        examples=first_examples(
            Example(
                what=repr(text.decode(errors="backslashreplace")),
                base=pair.base.show([index for index in ids if index in pair.base.spelling]) or "no token",
                new=pair.new.show(ids),
            )
            for text, ids in sorted(twice.items(), key=lambda item: item[1])
        ),
    )


class LlamaCpp(Check, frozen=True, kw_only=True):
    """before, after: the hashes by which llama.cpp's converter knows a pre-tokenizer.

    is_used: for byte-level tokenizers only. has_target: its fixed text holds what the new tokens are for.
    """

    name: str = LLAMA_CPP
    n_changed: int
    before: str
    after: str
    is_used: bool
    has_target: bool


def llama_cpp_hash(ids: list[int]) -> str:
    """What llama.cpp's converter computes from the ids of `LLAMA_CPP_TEXT`, special tokens included."""
    return hashlib.sha256(str(ids).encode()).hexdigest()


def llama_cpp(pair: Pair) -> LlamaCpp:
    """The ids by which convert_hf_to_gguf.py of llama.cpp recognises a pre-tokenizer."""
    before, after = _ids_of_llama_cpp_text(pair)
    is_used, is_changed = pair.base.is_byte_level, before != after
    has_target = not pair.scripts or contains_target(LLAMA_CPP_TEXT, pair.scripts)
    examples: tuple[Example, ...] = ()
    if is_used and is_changed:
        base, new = pair.show(before, after)
        examples = (Example(what="llama.cpp's fixed text", base=base, new=new),)
    return LlamaCpp(
        status="pass" if not examples else "warn" if has_target else "fail",
        n_changed=int(is_changed),
        before=llama_cpp_hash(before),
        after=llama_cpp_hash(after),
        is_used=is_used,
        has_target=has_target,
        examples=examples,
    )


def _ids_of_llama_cpp_text(pair: Pair) -> tuple[list[int], list[int]]:
    """With special tokens, as the converter has it; without them where sentencepiece encodes for one of the two."""
    if pair.base.encodes_as_json and pair.new.encodes_as_json:
        return pair.base.full.encode(LLAMA_CPP_TEXT).ids, pair.new.full.encode(LLAMA_CPP_TEXT).ids
    view = pair.views[0]
    return view.base.encode([LLAMA_CPP_TEXT])[0], view.new.encode([LLAMA_CPP_TEXT])[0]


# --- Single pieces ----------------------------------------------------------------------------------------------------


class BaseTally(msgspec.Struct, frozen=True, kw_only=True):
    """Base pieces that their own text gave in one form; n_broken: it gives them no more."""

    n_judged: int
    n_broken: int


class NewTally(msgspec.Struct, frozen=True, kw_only=True):
    """New tokens in one form. n_unreachable: not given by their own text; reachable ones are built through
    n_steps_unreachable of them, n_lost are of no use.
    """

    n_judged: int
    n_unreachable: int
    n_steps_unreachable: int
    n_lost: int


def _by_form(forms: Mapping[Kind, BaseTally] | Mapping[Kind, NewTally]) -> dict[str, int]:
    """Counts of single pieces, under the names that verify.json has for them."""
    return {
        f"{name}_{_PIECE_FORMS[kind]}": getattr(tally, name)
        for kind, tally in forms.items()
        for name in tally.__struct_fields__
    }


class Pieces(Check, frozen=True, kw_only=True):
    """forms: the base's pieces by the form that they were encoded in."""

    name: str = BASE_PIECES
    forms: Mapping[Kind, BaseTally]

    @property
    def counts(self) -> dict[str, int]:
        return _by_form(self.forms)


def base_pieces(pair: Pair) -> Check:
    """Tokens of the base that their own text (no dummy prefix) gave before, and does not give any more."""
    forms: dict[Kind, BaseTally] = {}
    examples: list[Example] = []
    for kind in (kind for kind in _PIECE_FORMS if kind in pair.base.bare and kind in pair.new.bare):
        texts = _whole_texts(pair.base)
        old, new = (tokenizer.bare[kind].encode([*texts.values()]) for tokenizer in (pair.base, pair.new))
        judged = [(text, a, b) for (index, text), a, b in zip(texts.items(), old, new, strict=True) if a == [index]]
        if kind == "tokenizer.json":
            judged += _cut_before_and_after(pair)
        broken = [row for row in judged if row[1] != row[2]]
        forms[kind] = BaseTally(n_judged=len(judged), n_broken=len(broken))
        for text, a, b in broken[:N_EXAMPLES]:
            base_shown, new_shown = pair.show(a, b)
            examples.append(Example(what=f"{kind}: {text!r}", base=base_shown, new=new_shown))
    if not forms:
        return NotChecked(name=BASE_PIECES, reason=_NO_FORM)
    is_broken = any(tally.n_broken for tally in forms.values())
    return Pieces(status="fail" if is_broken else "pass", forms=forms, examples=first_examples(examples))


_NO_FORM = "there is no form in which single pieces can be encoded"


def _cut_before_and_after(pair: Pair) -> list[tuple[str, list[int], list[int]]]:
    """Pieces that are cut inside a character, which have no text of their own, by merges alone: spelling and ids."""
    if pair.base.by_merges is None or pair.new.by_merges is None:
        return []
    spelled = {index: pair.base.spelling[index] for index in _cut_pieces(pair.base)}
    old, new = (encoder.encode([*spelled.values()]) for encoder in (pair.base.by_merges, pair.new.by_merges))
    return [(piece, a, b) for (index, piece), a, b in zip(spelled.items(), old, new, strict=True) if a == [index]]


def _whole_texts(tokenizer: Tokenizer) -> dict[int, str]:
    """Id -> text, of pieces that are text: those that end or begin inside a character are not."""
    return {index: data.decode() for index, data in tokenizer.texts.items() if data and _is_whole(data)}


def _cut_pieces(tokenizer: Tokenizer) -> list[int]:
    return [index for index, data in tokenizer.texts.items() if data and not _is_whole(data)]


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- New tokens ------------------------------------------------------------------------------------------------------


class Reachability(Check, frozen=True, kw_only=True):
    """forms: new tokens by the form that they were encoded in.

    n_whole_pretokens_only: no merges lead to them. n_new: all new tokens. On n_target_lines of text n_unused do not
    occur, n_scaffold of them steps to others; None where no text was given. has_target: the text is the target's.
    """

    name: str = REACHABILITY
    forms: Mapping[Kind, NewTally]
    n_new: int
    n_whole_pretokens_only: int
    n_target_lines: int | None
    n_unused: int
    n_scaffold: int
    has_target: bool

    @property
    def counts(self) -> dict[str, int]:
        counts = _by_form(self.forms)
        if self.n_whole_pretokens_only:
            counts["n_whole_pretokens_only"] = self.n_whole_pretokens_only
        if self.n_target_lines is not None:
            used = {"n_target_lines": self.n_target_lines, "n_unused": self.n_unused, "n_scaffold": self.n_scaffold}
            counts |= used
        return counts


def reachability(pair: Pair, used: frozenset[int], n_target_lines: int) -> Check:
    """A new token that its own text does not give is unreachable, unless a reachable one is built through it.

    Args:
        used: tokens that the target text given uses; n_target_lines: of it, 0 where none was given, so that scaffold
            and unused are not known.
    """
    forms: dict[Kind, NewTally] = {}
    examples: list[Example] = []
    steps: set[int] = set()
    n_whole = 0
    for kind in (kind for kind in _PIECE_FORMS if kind in pair.new.bare):
        found = _encoded_alone(pair, kind)
        reached = [index for index, ids in found.items() if ids == [index]]
        missed = [index for index, ids in found.items() if ids != [index]]
        # How each token is built takes a second for 40,000, and tells nothing where all are reached by their merges
        # and no text says which are used.
        takes_whole = pair.new.encodes_as_json and bool(pair.new.tokenizer_json["model"].get("ignore_merges"))
        is_asked = bool(missed) or n_target_lines > 0 or takes_whole
        steps_here, whole_here = _steps(pair, kind, reached) if is_asked else (set(), 0)
        steps, n_whole = steps | steps_here, n_whole + whole_here
        lost = [index for index in missed if index not in steps_here]
        n_lost, n_missed = len(lost), len(missed)
        forms[kind] = NewTally(
            n_judged=len(found), n_unreachable=n_missed, n_steps_unreachable=n_missed - n_lost, n_lost=n_lost
        )
        before = pair.base.bare.get(kind) or next(iter(pair.base.encoders.values()))
        for index in lost[:N_EXAMPLES]:
            text = pair.new.texts[index].decode(errors="backslashreplace")
            base = pair.base.show(before.encode([text])[0])
            examples.append(Example(what=f"{kind}: {text!r}", base=base, new=pair.new.show(found[index])))
    if not forms:
        return NotChecked(name=REACHABILITY, reason=_NO_FORM)
    unused = [index for index in pair.new_ids if index not in used]
    is_lost = any(tally.n_lost for tally in forms.values())
    return Reachability(
        status="fail" if is_lost else "warn" if n_whole else "pass",
        forms=forms,
        n_new=len(pair.new_ids),
        n_whole_pretokens_only=n_whole,
        n_target_lines=n_target_lines if pair.new_ids and n_target_lines else None,
        n_unused=len(unused),
        n_scaffold=sum(index in steps for index in unused),
        has_target=bool(pair.scripts),
        examples=first_examples(examples),
    )


def _encoded_alone(pair: Pair, kind: Kind) -> dict[int, list[int]]:
    """New id -> what its own text gives; one that is cut inside a character is judged by merges alone."""
    tokenizer, new = pair.new, {*pair.new_ids}
    whole = {index: text for index, text in _whole_texts(tokenizer).items() if index in new}
    found = dict(zip(whole, tokenizer.bare[kind].encode([*whole.values()]), strict=True))
    if not tokenizer.can_grow:
        # Some pipelines drop spaces and let the dummy prefix stand for one.
        spaced = [index for index, ids in found.items() if ids != [index] and whole[index].startswith(" ")]
        rows = tokenizer.encoders[kind].encode([whole[index][1:] for index in spaced])
        found |= {index: ids for index, ids in zip(spaced, rows, strict=True) if ids == [index]}
    cut = [index for index in _cut_pieces(tokenizer) if index in new]
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
