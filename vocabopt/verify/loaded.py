"""The check that AutoTokenizer gives of NEW's folder what it gives of BASE's: settings, special tokens, prompts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocabopt.failures import encoded
from vocabopt.merge.class_defaults import class_defaults, class_of_model
from vocabopt.text.scripts import contains_target
from vocabopt.text.utf8 import json_value
from vocabopt.verify.checks_ids import NAMES, one_of_each
from vocabopt.verify.pair import Pair, difference
from vocabopt.verify.reload import auto_tokenizer, load, quiet
from vocabopt.verify.report import Check, Example, contrast
from vocabopt.verify.sides import Side
from vocabopt.verify.templates import cases, told
from vocabopt.verify.text_pass import shown

LOADED = "transformers loads it with the base's settings and chat prompts"

_SETTINGS = (
    *("padding_side", "truncation_side", "clean_up_tokenization_spaces", "split_special_tokens"),
    "model_input_names",
)
#: transformers means "no limit" by a length beyond this.
_LONGEST = 10**20
_AROUND, _OTHERS = "ids around a document", "other special tokens"


@dataclass
class _Findings:
    """What differs: certainly, or only because BASE's folder is loaded otherwise than its own files say."""

    wrong: dict[str, list[Example]] = field(default_factory=dict)
    doubtful: dict[str, list[Example]] = field(default_factory=dict)

    def add(self, kind: str, what: str, base: Any, new: Any, *, certain: bool) -> None:
        examples = self.wrong if certain else self.doubtful
        old, now = contrast(base, new)
        examples.setdefault(kind, []).append(Example(what=what, base=old, new=now))


def as_loaded(pair: Pair, documents: Sequence[str]) -> Check:
    """Compare both folders as AutoTokenizer loads them.

    Args:
        documents: those on which BASE, as it is loaded, is compared with its own tokenizer.json.
    """
    base, new = pair.base, pair.new
    lone = next((side for side in (base, new) if side.folder is None), None)
    if lone is not None:
        return Check(name=LOADED, status="not_checked", summary=f"{lone.source}: no folder for transformers to load")
    with quiet():
        auto = auto_tokenizer()
        if auto is None:
            return Check(name=LOADED, status="not_checked", summary="transformers is not installed")
        assert base.folder is not None
        assert new.folder is not None
        before, after = (_loaded_or_why(auto, folder) for folder in (base.folder, new.folder))
        for side, value in ((base, before), (new, after)):
            if isinstance(value, str):
                return Check(name=LOADED, status="not_checked", summary=f"{side.source} cannot be loaded ({value})")
        found = _Findings()
        _compare_facts(pair, before, after, found)
        n_prompts = _compare_prompts(pair, before, after, found)
        n_departing = _departures(base, before, documents, found)
    class_name = type(before).__name__
    notes = [f"{len(examples):,} {kind} differ" for kind, examples in found.wrong.items()]
    notes += _excused(found.doubtful)
    n_wrong = sum(map(len, found.wrong.values()))
    return Check(
        name=LOADED,
        status="fail" if n_wrong else "warn" if found.doubtful else "pass",
        summary="; ".join(
            notes or [f"settings, special tokens and {n_prompts:,} chat prompts as {class_name} has them"]
        ),
        counts={"n_prompts": n_prompts, "n_different": n_wrong, "n_lines_base_departs": n_departing},
        examples=one_of_each([*found.wrong.values(), *found.doubtful.values()]),
    )


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_FACTS, _STATED, _PROMPTS, _IDS, _LINES = "settings", "settings stated", "chat prompts", "ids of chat prompts", "lines"


def _excused(doubtful: Mapping[str, Sequence[Example]]) -> list[str]:
    """What differs and is no fault of NEW, which follows the base's files."""
    notes = []
    departing = [f"{len(examples):,} {kind}" for kind, examples in doubtful.items() if kind != _STATED]
    if departing:
        notes.append(
            f"{', '.join(departing)}: transformers loads the base's folder otherwise than the base's own files say, "
            "and the new folder follows the files, as it should"
        )
    if _STATED in doubtful:
        n = len(doubtful[_STATED])
        notes.append(f"{n:,} {_STATED} as the base's class has them in other versions of transformers")
    return notes


def _loaded_or_why(auto: Any, folder: Path) -> Any:
    try:
        return load(auto, folder)
    except Exception as error:  # loading fails in a hundred ways
        return f"{type(error).__name__}: {str(error)[:200]}"


def _compare_facts(pair: Pair, before: Any, after: Any, found: _Findings) -> None:
    old, new = _facts(before), _facts(after)
    config, stated = _config(pair.base)
    for name in (name for name in old if old[name] != new[name]):
        # What the base's class fills in differs between versions of transformers: the new folder states it.
        value = new[name][0] if name in NAMES else new[name]
        if name in stated and name not in config and value == stated[name]:
            found.add(_STATED, name, old[name], new[name], certain=False)
            continue
        full = pair.base.full
        is_base_otherwise = name == _AROUND and full is not None and full.encode("").ids != old[name]
        if name == _OTHERS and pair.base.written == "tokenizer.model":
            # transformers calls user-defined symbols special, and leaves them out of text; sentencepiece does not.
            special = {token["content"] for token in pair.base.added.values() if token.get("special")}
            is_base_otherwise = special.isdisjoint({*old[name]} ^ {*new[name]})
        found.add(_FACTS, name, old[name], new[name], certain=not is_base_otherwise)


def _config(base: Side) -> tuple[dict[str, Any], dict[str, Any]]:
    """tokenizer_config.json of BASE's folder, and what the class that it names fills in."""
    try:
        config = json_value(base.companions.get("tokenizer_config.json", b"{}"))
    except ValueError:
        config = {}
    if not isinstance(config, dict):
        config = {}
    named = config.get("tokenizer_class") or class_of_model(
        None if base.folder is None else base.folder / "config.json"
    )
    return config, class_defaults(str(named))


def _facts(loaded: Any) -> dict[str, Any]:
    """What a user of the loaded tokenizer meets beside ids of text; special tokens by name, each with its id."""
    facts: dict[str, Any] = {name: getattr(loaded, name, None) for name in _SETTINGS}
    facts["model_max_length"] = min(loaded.model_max_length, _LONGEST)
    facts |= {name: (getattr(loaded, name, None), getattr(loaded, f"{name}_id", None)) for name in NAMES}
    facts[_OTHERS] = sorted({*loaded.all_special_tokens} - {facts[name][0] for name in NAMES})
    facts[_AROUND] = list(loaded("", add_special_tokens=True)["input_ids"])
    return facts


def _compare_prompts(pair: Pair, before: Any, after: Any, found: _Findings) -> int:
    """Chat prompts by both; how many there are."""
    if not any(getattr(loaded, "chat_template", None) for loaded in (before, after)):
        return 0
    for case in cases():
        old, new = (_prompt(loaded, case) for loaded in (before, after))
        if old != new:
            found.add(_PROMPTS, told(case), repr(old), repr(new), certain=True)
        is_judged = not pair.new_ids or (bool(pair.scripts) and not contains_target(old, pair.scripts))
        # A template can hold half a character, for which no library has ids.
        if old != new or not is_judged or _HALF_CHARACTER.search(old):
            continue
        ids, new_ids = (list(loaded(old, add_special_tokens=False)["input_ids"]) for loaded in (before, after))
        if ids != new_ids:
            full = pair.base.full
            certain = full is None or full.encode(old, add_special_tokens=False).ids == ids
            found.add(_IDS, f"{told(case)}: {shown(old)}", *pair.show(ids, new_ids), certain=certain)
    return len(cases())


def _prompt(loaded: Any, case: Mapping[str, Any]) -> str:
    """The text, or the error: a role that a template refuses must be refused by both."""
    options = {name: value for name, value in case.items() if name != "messages" and value is not None}
    try:
        return str(loaded.apply_chat_template(case["messages"], tokenize=False, **options))
    except Exception as error:  # a template can raise anything
        return f"{type(error).__name__}: {error}"


def _departures(base: Side, loaded: Any, documents: Sequence[str], found: _Findings) -> int:
    """Lines on which BASE as it is loaded gives other ids than its own tokenizer.json; how many there are."""
    if base.full is None or not documents:
        return 0
    texts = list(documents)
    expected = [encoding.ids for encoding in encoded(base.full, texts, base.source)]
    given = loaded(texts, add_special_tokens=False)["input_ids"]
    n = 0
    for line, ids, other in zip(texts, expected, given, strict=True):
        if ids != other:
            n += 1
            own, as_is = difference(base, ids, base, list(other))
            found.add(_LINES, shown(line), f"as loaded: {as_is}", f"its {base.written}: {own}", certain=False)
    return n
