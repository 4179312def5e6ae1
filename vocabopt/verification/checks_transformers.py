"""Checks that transformers loads what was written: with api.py the only module of vocabopt that imports it.

NEW's folder must give the ids of its tokenizer.json, and the settings, special tokens and prompts of BASE's folder.
"""

import logging
import os
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from vocabopt.errors import how_to_install
from vocabopt.failures import encoded
from vocabopt.merging.export import class_defaults, class_of_model
from vocabopt.text.scripts import contains_target
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chat_templates import NAMES, cases, in_words
from vocabopt.verification.checks import Findings, not_checked
from vocabopt.verification.pair import Pair, difference, shown
from vocabopt.verification.record import Check
from vocabopt.verification.text import Batch

RELOAD = "transformers loads it with the same ids"
LOADED = "transformers loads it with the base's settings and chat prompts"

_SETTINGS = (
    *("padding_side", "truncation_side", "clean_up_tokenization_spaces", "split_special_tokens"),
    "model_input_names",
)
#: transformers means "no limit" by a length beyond this.
_LONGEST = 10**20
_AROUND, _OTHERS = "ids around a document", "other special tokens"
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
#: A kind of difference: what a class of transformers fills in and the new folder states.
_STATED = "settings stated"
_LINES = "lines"
#: How much of --text and of --protect transformers is given; of the built-in lines all.
N_RELOADED_BYTES = 500_000


#: A folder -> the tokenizer of transformers in it. Raises whatever transformers raises.
Load = Callable[[Any], Any]


@dataclass
class ReloadPass:
    """Keeps the documents to compare: all built-in ones, the first `N_RELOADED_BYTES` of --text and of --protect."""

    pair: Pair
    documents: list[str] = field(default_factory=list)
    n_bytes: Counter[str] = field(default_factory=Counter)
    n_left: int = 0

    def see(self, batch: Batch) -> None:
        for document in batch.documents:
            if batch.role == "hard" or self.n_bytes[batch.role] < N_RELOADED_BYTES:
                self.documents.append(document)
                self.n_bytes[batch.role] += len(document.encode())
            else:
                self.n_left += 1

    def check(self) -> Check:
        """AutoTokenizer on NEW's folder, and again on what it saves, gives the ids of tokenizer.json."""
        new = self.pair.new
        if (folder := _folder_of(new)) is None:
            what = "a file, not a folder" if new.folder is None else "a folder without tokenizer.json"
            return not_checked(RELOAD, f"{new.name} is {what}")
        found = Findings()
        with _transformers() as load:
            if load is None:
                return not_checked(RELOAD, f"transformers is not installed. {how_to_install('verify')}")
            try:
                wrong = _loaded_twice(load, folder, new.full, self.documents)
            except UnicodeEncodeError as error:
                reason = f"transformers can neither open nor save what is not UTF-8: {error.object[:80]!r}"
                return not_checked(RELOAD, reason)
            except Exception as error:  # loading fails in a hundred ways, each of them a finding
                reason = f"cannot be loaded ({type(error).__name__}: {str(error)[:200]})"
                return found.check(RELOAD, reason, {}, status="fail")
            as_well = self._base_as_well(load) if wrong else set()
        for how, line, expected, ids in wrong:
            own, loaded = difference(new, expected, new, ids)
            row = (f"{how}: {shown(line)}", f"tokenizer.json: {own}", f"transformers: {loaded}")
            found.add(how, [row], certain=line not in as_well)
        counts = {"n_not_compared": self.n_left, "n_lines": len(self.documents), "n_different": found.n_wrong}
        summary = f"{found.n_wrong:,} of {len(self.documents):,} lines differ from tokenizer.json"
        summary += f"; {found.n_doubtful:,} on which the base's folder differs as well" if found.doubtful else ""
        if self.n_left:
            limit = f"behind the first {N_RELOADED_BYTES:,} bytes of --text or --protect"
            summary += f" ({self.n_left:,} lines {limit} not compared)"
        return found.check(RELOAD, summary, {**counts, "n_base_as_well": found.n_doubtful})

    def _base_as_well(self, load: Load) -> set[str]:
        """Lines on which the base itself, loaded by transformers, does not give the ids of its tokenizer.json."""
        if (folder := _folder_of(self.pair.base)) is None:
            return set()
        try:
            return {line for _, line, _, _ in _loaded_twice(load, folder, self.pair.base.full, self.documents)}
        except Exception:  # as above; then the base excuses nothing
            return set()


def _folder_of(tokenizer: Tokenizer) -> Path | None:
    """The folder of a tokenizer, where it holds a tokenizer.json."""
    folder = tokenizer.folder
    is_there = folder is not None and (folder / "tokenizer.json").is_file() and tokenizer.encodes_as_json
    return folder if is_there else None


def _loaded_twice(
    load: Load, folder: Path, tokenizer: tokenizers.Tokenizer, documents: Sequence[str]
) -> list[tuple[str, str, list[int], list[int]]]:
    """Documents that transformers encodes otherwise: how, the document, ids of tokenizer.json, ids found."""
    texts = list(documents)
    wrong: dict[str, tuple[str, str, list[int], list[int]]] = {}
    with tempfile.TemporaryDirectory() as again:
        loaded = load(folder)
        loaded.save_pretrained(again)
        expected = {
            special: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=special)]
            for special in (False, True)
        }
        for how, each in (("loaded", loaded), ("saved and loaded", load(Path(again)))):
            for special in (False, True):
                found = each(texts, add_special_tokens=special)["input_ids"]
                for line, a, b in zip(texts, expected[special], found, strict=True):
                    if a != b:
                        wrong.setdefault(line, (how, line, a, list(b)))
    return list(wrong.values())


@contextmanager
def _transformers() -> Iterator[Load | None]:
    """What loads a folder as AutoTokenizer does; None where transformers is not installed.

    No warnings, no logging and no progress meanwhile: it speaks when it is imported.
    """
    variable = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before, disabled = os.environ.get(variable), logging.root.manager.disable
    os.environ[variable] = "1"
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield _auto_tokenizer()
    finally:
        logging.disable(disabled)
        del os.environ[variable]
        os.environ.update({} if before is None else {variable: before})


def _auto_tokenizer() -> Load | None:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        return None
    # Code that a folder brings along is not run; asked for nothing, transformers would ask the user.
    options = {"local_files_only": True, "trust_remote_code": False}
    return lambda folder: AutoTokenizer.from_pretrained(str(folder), **options)


# --- As loaded --------------------------------------------------------------------------------------------------------


def as_loaded(pair: Pair, documents: Sequence[str]) -> Check:
    """Compare both folders as AutoTokenizer loads them.

    Args:
        documents: those on which BASE, as it is loaded, is compared with its own tokenizer.json.
    """
    base, found, loaded = pair.base, Findings(), []
    for side in (pair.base, pair.new):
        if side.folder is None:
            return not_checked(LOADED, f"{side.source}: no folder for transformers to load")
    if base.written in ("tiktoken", "tekken.json") and not base.config("tokenizer_config.json"):
        # transformers then knows no special token; NEW has those of the publisher's program.
        return not_checked(LOADED, f"{base.source}: holds ranks alone, and no tokenizer_config.json for transformers")
    with _transformers() as load:
        if load is None:
            return not_checked(LOADED, "transformers is not installed")
        for side in (pair.base, pair.new):
            try:
                loaded.append(load(side.folder))
            except Exception as error:  # loading fails in a hundred ways
                reason = f"{side.source} cannot be loaded ({type(error).__name__}: {str(error)[:200]})"
                return not_checked(LOADED, reason)
        before, after = loaded
        _compare_facts(pair, before, after, found)
        n_prompts = _compare_prompts(pair, before, after, found)
        _compare_with_own_files(base, before, documents, found)
    notes = [f"{n:,} {kind} differ" for kind, n in found.wrong.items()]
    if departing := [f"{n:,} {kind}" for kind, n in found.doubtful.items() if kind != _STATED]:
        notes.append(
            f"{', '.join(departing)}: transformers loads the base's folder otherwise than the base's own files say, "
            "and the new folder follows the files, as it should"
        )
    if n := found.doubtful.get(_STATED):
        notes.append(f"{n:,} {_STATED} as the base's class has them in other versions of transformers")
    if not notes:
        notes = [f"settings, special tokens and {n_prompts:,} chat prompts as {type(before).__name__} has them"]
    counts = {"n_prompts": n_prompts, "n_different": found.n_wrong}
    return found.check(LOADED, "; ".join(notes), counts | {"n_lines_base_departs": found.doubtful.get(_LINES, 0)})


def _compare_facts(pair: Pair, before: Any, after: Any, found: Findings) -> None:
    old, new = _facts(before), _facts(after)
    config = pair.base.config("tokenizer_config.json")
    # What the class that BASE's folder names fills in.
    stated = class_defaults(str(config.get("tokenizer_class") or class_of_model(pair.base.model_config)))
    for name in (name for name in old if old[name] != new[name]):
        # What the base's class fills in differs between versions of transformers: the new folder states it.
        value = new[name][0] if name in NAMES else new[name]
        row = (name, old[name], new[name])
        if name in stated and name not in config and value == stated[name]:
            found.add(_STATED, [row], certain=False)
            continue
        is_base_otherwise = name == _AROUND and pair.base.encodes_as_json and pair.base.full.encode("").ids != old[name]
        if name == _OTHERS and pair.base.written == "tokenizer.model":
            # transformers calls user-defined symbols special, and leaves them out of text; sentencepiece does not.
            special = {token["content"] for token in pair.base.added_tokens if token.get("special")}
            is_base_otherwise = special.isdisjoint({*old[name]} ^ {*new[name]})
        found.add("settings", [row], certain=not is_base_otherwise)


def _facts(loaded: Any) -> dict[str, Any]:
    """What a user of the loaded tokenizer meets beside ids of text; special tokens by name, each with its id."""
    facts: dict[str, Any] = {name: getattr(loaded, name, None) for name in _SETTINGS}
    facts["model_max_length"] = min(loaded.model_max_length, _LONGEST)
    facts |= {name: (getattr(loaded, name, None), getattr(loaded, f"{name}_id", None)) for name in NAMES}
    facts[_OTHERS] = sorted({*loaded.all_special_tokens} - {facts[name][0] for name in NAMES})
    facts[_AROUND] = list(loaded("", add_special_tokens=True)["input_ids"])
    return facts


def _compare_prompts(pair: Pair, before: Any, after: Any, found: Findings) -> int:
    """Chat prompts by both; how many there are."""
    if not any(getattr(loaded, "chat_template", None) for loaded in (before, after)):
        return 0
    for case in cases():
        old, new = (_prompt(loaded, case) for loaded in (before, after))
        if old != new:
            found.add("chat prompts", [(in_words(case), repr(old), repr(new))])
        is_judged = not pair.new_ids or (bool(pair.scripts) and not contains_target(old, pair.scripts))
        # A template can hold half a character, for which no library has ids.
        if old != new or not is_judged or _HALF_CHARACTER.search(old):
            continue
        ids, new_ids = (list(loaded(old, add_special_tokens=False)["input_ids"]) for loaded in (before, after))
        if ids != new_ids:
            base = pair.base
            certain = not base.encodes_as_json or base.full.encode(old, add_special_tokens=False).ids == ids
            row = (f"{in_words(case)}: {shown(old)}", *pair.show(ids, new_ids))
            found.add("ids of chat prompts", [row], certain=certain)
    return len(cases())


def _prompt(loaded: Any, case: Mapping[str, Any]) -> str:
    """The text, or the error: a role that a template refuses must be refused by both."""
    options = {name: value for name, value in case.items() if name != "messages" and value is not None}
    try:
        return str(loaded.apply_chat_template(case["messages"], tokenize=False, **options))
    except Exception as error:  # a template can raise anything
        return f"{type(error).__name__}: {error}"


def _compare_with_own_files(base: Tokenizer, loaded: Any, documents: Sequence[str], found: Findings) -> None:
    """Lines on which BASE as it is loaded gives other ids than its own tokenizer.json."""
    if not base.encodes_as_json or not documents:
        return
    texts = list(documents)
    expected = [encoding.ids for encoding in encoded(base.full, texts, base.source)]
    given = loaded(texts, add_special_tokens=False)["input_ids"]
    for line, ids, other in zip(texts, expected, given, strict=True):
        if ids != other:
            own, as_is = difference(base, ids, base, list(other))
            found.add(_LINES, [(shown(line), f"as loaded: {as_is}", f"its {base.written}: {own}")], certain=False)
