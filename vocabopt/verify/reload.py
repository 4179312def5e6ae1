"""The check that transformers loads what was written: the only module of vocabopt that imports transformers."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from vocabopt.errors import how_to_install
from vocabopt.verify.checks_ids import one_of_each
from vocabopt.verify.pair import Pair, difference
from vocabopt.verify.report import Check, Example
from vocabopt.verify.text_pass import Batch, shown

RELOAD = "transformers loads it with the same ids"

#: How much of --text and of --protect is compared; of the built-in lines all.
N_BYTES = 500_000


@dataclass
class Reload:
    """Keeps the documents to compare: all built-in ones, and the first `N_BYTES` of --text and of --protect."""

    pair: Pair
    documents: list[str] = field(default_factory=list)
    n_bytes: dict[str, int] = field(default_factory=dict)
    n_left: int = 0

    def see(self, batch: Batch) -> None:
        for document in batch.documents:
            n_bytes = self.n_bytes.get(batch.role, 0)
            if batch.role == "hard" or n_bytes < N_BYTES:
                self.documents.append(document)
                self.n_bytes[batch.role] = n_bytes + len(document.encode())
            else:
                self.n_left += 1

    def check(self) -> Check:
        """AutoTokenizer on NEW's folder, and again on what it saves, gives the ids of tokenizer.json."""
        side = self.pair.new
        if side.folder is None or not (side.folder / "tokenizer.json").is_file() or not side.encodes_as_json:
            reason = "a file, not a folder" if side.folder is None else "a folder without tokenizer.json"
            return Check(name=RELOAD, status="not_checked", summary=f"{side.name} is {reason}")
        with quiet():
            auto = auto_tokenizer()
            if auto is None:
                summary = f"transformers is not installed. {how_to_install('verify')}"
                return Check(name=RELOAD, status="not_checked", summary=summary)
            try:
                found = _loaded_twice(auto, side.folder, side.full, self.documents)
            except UnicodeEncodeError as error:
                summary = f"transformers can neither open nor save what is not UTF-8: {error.object[:80]!r}"
                return Check(name=RELOAD, status="not_checked", summary=summary)
            except Exception as error:  # loading fails in a hundred ways, each of them a finding
                summary = f"cannot be loaded ({type(error).__name__}: {str(error)[:200]})"
                return Check(name=RELOAD, status="fail", summary=summary)
            as_well = self._base_as_well(auto) if found else set()
        wrong = [row for row in found if row[1] not in as_well]
        summary = f"{len(wrong):,} of {len(self.documents):,} lines differ from tokenizer.json"
        summary += f"; {len(found) - len(wrong):,} on which the base's folder differs as well" if found != wrong else ""
        if self.n_left:
            summary += (
                f" ({self.n_left:,} lines behind the first {N_BYTES:,} bytes of --text or --protect not compared)"
            )
        counts = {
            "n_not_compared": self.n_left,
            "n_lines": len(self.documents),
            "n_different": len(wrong),
            "n_base_as_well": len(found) - len(wrong),
        }
        return Check(
            name=RELOAD,
            status="fail" if wrong else "warn" if found else "pass",
            summary=summary,
            counts=counts,
            examples=self._examples(found, as_well),
        )

    def _base_as_well(self, auto: Any) -> set[str]:
        """Lines on which the base itself, loaded by transformers, does not give the ids of its tokenizer.json."""
        base = self.pair.base
        if base.folder is None or not (base.folder / "tokenizer.json").is_file() or not base.encodes_as_json:
            return set()
        try:
            return {line for _, line, _, _ in _loaded_twice(auto, base.folder, base.full, self.documents)}
        except Exception:  # as above; then the base excuses nothing
            return set()

    def _examples(
        self, found: Sequence[tuple[str, str, list[int], list[int]]], as_well: set[str]
    ) -> tuple[Example, ...]:
        """Of each way to load one first, and those that are NEW's alone before those that the base has as well."""
        kinds: dict[tuple[bool, str], list[Example]] = {}
        for row in found:
            kinds.setdefault((row[1] in as_well, row[0]), []).append(self._example(*row))
        return one_of_each(kinds[kind] for kind in sorted(kinds))

    def _example(self, how: str, line: str, expected: list[int], found: list[int]) -> Example:
        ids = difference(self.pair.new, expected, self.pair.new, found)
        return Example(what=f"{how}: {shown(line)}", base=f"tokenizer.json: {ids[0]}", new=f"transformers: {ids[1]}")


def auto_tokenizer() -> Any | None:
    """AutoTokenizer; None where transformers is not installed."""
    try:
        from transformers import AutoTokenizer
    except ImportError:
        return None
    return AutoTokenizer


def load(auto: Any, folder: Path) -> Any:
    """A folder's tokenizer as AutoTokenizer, `auto`, makes it. Raises whatever transformers raises."""
    # Code that a folder brings along is not run; asked for nothing, transformers would ask the user.
    return auto.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def _loaded_twice(
    auto: Any, folder: Path, tokenizer: tokenizers.Tokenizer, documents: Sequence[str]
) -> list[tuple[str, str, list[int], list[int]]]:
    """Documents that transformers encodes otherwise: how, the document, ids of tokenizer.json, ids found."""
    texts = list(documents)
    wrong: dict[str, tuple[str, str, list[int], list[int]]] = {}
    with tempfile.TemporaryDirectory() as again:
        loaded = load(auto, folder)
        loaded.save_pretrained(again)
        expected = {
            special: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=special)]
            for special in (False, True)
        }
        for how, each in (("loaded", loaded), ("saved and loaded", load(auto, Path(again)))):
            for special in (False, True):
                found = each(texts, add_special_tokens=special)["input_ids"]
                for line, a, b in zip(texts, expected[special], found, strict=True):
                    if a != b:
                        wrong.setdefault(line, (how, line, a, list(b)))
    return list(wrong.values())


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no logging and no progress from transformers, which speaks when it is imported."""
    variable = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
