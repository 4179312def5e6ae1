"""Checks on the vocabularies: ids, special tokens, spelling, and what llama.cpp makes of them."""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from typing import Any

from vocabopt.text.scripts import contains_target
from vocabopt.text.utf8 import json_value
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.hard_strings import LLAMA_CPP_TEXT
from vocabopt.verify.pair import Pair
from vocabopt.verify.report import N_EXAMPLES, Check, Example

BASE_IDS = "Base ids spell the same pieces, and new ids follow them"
SPECIAL_TOKENS = "Special tokens are unchanged"
SPELLING = "No new token is spelled like another"
LLAMA_CPP = "llama.cpp recognises the same pre-tokenizer"

#: Flags of an added token that decide where in a text it is found.
_MATCHING_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
#: Roles of special tokens in tokenizer_config.json.
NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def first_examples(examples: Iterable[Example]) -> tuple[Example, ...]:
    """As many of them as a check keeps."""
    return tuple(example for example, _ in zip(examples, range(N_EXAMPLES), strict=False))


def one_of_each(kinds: Iterable[Iterable[Example]]) -> tuple[Example, ...]:
    """As many examples as a check keeps, the first of each kind before the second of any."""
    rows = chain.from_iterable(zip_longest(*kinds))
    return first_examples(example for example in rows if example is not None)


def base_ids(pair: Pair) -> Check:
    """Every id of BASE spells in NEW what it did; the ids that BASE lacks follow its last without a hole."""
    before, after = pair.base.spelling, pair.new.spelling
    changed = [index for index in before if after.get(index) != before[index]]
    expected = range(pair.base.n_tokens, pair.base.n_tokens + len(pair.new_ids))
    strays = sorted({*pair.new_ids} ^ {*expected})
    examples = [
        *(Example(what=f"id {i}", base=repr(before[i]), new=_or_none(after.get(i))) for i in changed),
        *(Example(what=f"new id {i}", base="no token", new=repr(after[i]) if i in after else "a hole") for i in strays),
    ]
    summary = f"{len(before):,} ids of the base, {len(pair.new_ids):,} new ones"
    if changed or strays:
        summary += f": {len(changed):,} changed, {len(strays):,} out of order or missing"
    counts = {"n_base": len(before), "n_new": len(pair.new_ids)}
    return Check(
        name=BASE_IDS,
        status="fail" if changed or strays else "pass",
        summary=summary,
        counts={**counts, "n_changed": len(changed), "n_out_of_order": len(strays)},
        examples=first_examples(examples),
    )


def _or_none(piece: str | None) -> str:
    return "no token" if piece is None else repr(piece)


def special_tokens(pair: Pair) -> Check:
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
    n_more = sum(index not in pair.base.spelling for index in more)
    summary = f"special and added tokens: {len(pair.base.added):,}"
    summary += f", in the new one {n_more:,} more" if n_more else ""
    summary += f"; {len(wrong):,} changed" if wrong else ""
    summary += f"; {len(doubtful):,} are matched by other rules, as another form of file has them" if doubtful else ""
    return Check(
        name=SPECIAL_TOKENS,
        status="fail" if wrong else "warn" if doubtful else "pass",
        summary=summary,
        counts={
            "n_base": len(pair.base.added),
            "n_changed": len(wrong),
            "n_matched_otherwise": len(doubtful),
            "n_new": n_more,
        },
        examples=first_examples([*wrong, *doubtful]),
    )


def _identity(token: Mapping[str, Any]) -> tuple[str, bool]:
    return token["content"], bool(token.get("special"))


def _token_example(index: int, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Example:
    return Example(what=f"id {index}", base=_told(before), new=_told(after))


def _told(token: Mapping[str, Any] | None) -> str:
    if token is None:
        return "no added token"
    flags = [flag for flag in ("special", *_MATCHING_FLAGS) if token.get(flag)]
    return f"{token['content']!r} ({', '.join(flags) or 'plain'})"


def names_of(side: Tokenizer) -> dict[str, str | None]:
    """bos_token and its like, as tokenizer_config.json or special_tokens_map.json name them; {} without these files."""
    names: dict[str, str | None] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            config = json_value(side.companions.get(file, b"{}"))
        except ValueError:
            continue
        for name in NAMES:
            if config.get(name) is not None:
                value = config[name]
                names[name] = value.get("content") if isinstance(value, dict) else value
    return names


def spelling(pair: Pair) -> Check:
    """A new token has bytes of its own: no token of the base, no other new one and no special token has the same."""
    owners: dict[bytes, list[int]] = {}
    for index in pair.new.spelling:
        token = pair.new.added.get(index)
        text = token["content"].encode() if token is not None else pair.new.texts.get(index)
        if text is not None:
            owners.setdefault(text, []).append(index)
    new = {*pair.new_ids}
    twice = {text: sorted(ids) for text, ids in owners.items() if len(ids) > 1 and not new.isdisjoint(ids)}
    return Check(
        name=SPELLING,
        status="fail" if twice else "pass",
        summary=f"{len(twice):,} of {len(new):,} new tokens" if twice else f"{len(new):,} new tokens",
        counts={"n_new": len(new), "n_twice": len(twice)},
        examples=first_examples(
            Example(
                what=repr(text.decode(errors="backslashreplace")),
                base=pair.base.show([index for index in ids if index in pair.base.spelling]) or "no token",
                new=pair.new.show(ids),
            )
            for text, ids in sorted(twice.items(), key=lambda item: item[1])
        ),
    )


def llama_cpp_hash(ids: list[int]) -> str:
    """What llama.cpp's converter computes from the ids of `LLAMA_CPP_TEXT`, special tokens included."""
    return hashlib.sha256(str(ids).encode()).hexdigest()


def llama_cpp(pair: Pair) -> Check:
    """The ids by which convert_hf_to_gguf.py of llama.cpp recognises a pre-tokenizer."""
    before, after = _ids_of_llama_cpp_text(pair)
    is_used = pair.base.is_byte_level
    summary = f"hash {llama_cpp_hash(after)[:16]}..."
    if before == after:
        note = "" if is_used else "; not used for SentencePiece tokenizers"
        return Check(name=LLAMA_CPP, status="pass", summary=f"{summary} as before{note}", counts={"n_changed": 0})
    if not is_used:
        told = f"{summary} differs, and is not used for SentencePiece tokenizers"
        return Check(name=LLAMA_CPP, status="pass", summary=told, counts={"n_changed": 1})
    summary += f", before {llama_cpp_hash(before)[:16]}...: "
    is_target = not pair.scripts or contains_target(LLAMA_CPP_TEXT, pair.scripts)
    if is_target:
        summary += (
            "its fixed text holds what the new tokens are for. Add the new hash to get_vocab_base_pre in "
            "convert_hf_to_gguf.py, with the name the base has there (its tokenizer.ggml.pre)"
        )
    else:
        summary += "the converter would not know it, or take it for another"
    base, new = pair.show(before, after)
    return Check(
        name=LLAMA_CPP,
        status="warn" if is_target else "fail",
        summary=summary,
        counts={"n_changed": 1},
        examples=(Example(what="llama.cpp's fixed text", base=base, new=new),),
    )


def _ids_of_llama_cpp_text(pair: Pair) -> tuple[list[int], list[int]]:
    """With special tokens, as the converter has it; without them where sentencepiece encodes for one of the two."""
    if pair.base.encodes_as_json and pair.new.encodes_as_json:
        return pair.base.full.encode(LLAMA_CPP_TEXT).ids, pair.new.full.encode(LLAMA_CPP_TEXT).ids
    view = pair.views[0]
    return view.base.encode([LLAMA_CPP_TEXT])[0], view.new.encode([LLAMA_CPP_TEXT])[0]
