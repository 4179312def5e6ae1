"""A program's ids beside those of the `tokenizers` library, and why some differ."""

import copy
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from programs import Program
from tokenizers import Tokenizer
from tokenizers_made import Form, Made

_N_EXAMPLES = 5
_JAVASCRIPT_SPACE = r"\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one client did with one tokenizer. None where there is no such number.

    n_apart: lines with a special token's name or NUL in them; they are compared like all others, with special tokens
    read as the program reads them. kinds: explanation -> lines. why: the result in words; why it did not run.
    """

    client: str
    version: str
    base: str
    n_added: int | None = None
    n_lines: int | None = None
    n_apart: int | None = None
    n_differing: int | None = None
    n_base_differing: int | None = None
    n_unexplained: int | None = None
    kinds: Mapping[str, int] = field(default_factory=dict)
    why: str = ""
    examples: Sequence[Mapping[str, Any]] = ()
    seconds: float | None = None

    @property
    def is_run(self) -> bool:
        return self.n_lines is not None

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Kind:
    """A known difference between a program and the `tokenizers` library, found with every base of its kind.

    applies: to tokenizers like this. as_read: tokenizer.json as the program takes it. A line is explained only where
    the library gives with that the very ids that the program gave.
    """

    program: str
    explanation: str
    applies: Callable[[Form], bool]
    as_read: Callable[[dict[str, Any]], dict[str, Any]]


def _with_pattern(value: dict[str, Any], pattern: str) -> dict[str, Any]:
    """The same with another split pattern; the step ByteLevel, which splits as GPT-2 does, is left to spell bytes."""
    value = copy.deepcopy(value)
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    part = value["pre_tokenizer"]
    byte_level = part["pretokenizers"][-1] if part["type"] == "Sequence" else part
    steps = [split, {**byte_level, "use_regex": False}]
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    return value


KINDS = (
    Kind(
        "llama.cpp",
        "llama.cpp does not normalise text (tokenizer.json: NFC)",
        lambda form: (form.tokenizer_json["normalizer"] or {}).get("type") in _NORMAL_FORMS,
        lambda value: {**value, "normalizer": None},
    ),
    Kind(
        "llama.cpp",
        "llama.cpp writes Tekken's pattern without combining marks, and with ASCII's capitals only",
        lambda form: r"\p{M}" in (form.split_pattern or ""),
        # llama.cpp, src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_TEKKEN
        lambda value: _with_pattern(
            value,
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+"
            r"|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*"
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ),
    Kind(
        "javascript",
        r"JavaScript's \s in GPT-2's pattern holds U+FEFF and not U+0085",
        lambda form: form.is_byte_level and form.split_pattern is None,
        lambda value: _with_pattern(
            value,
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+"
            rf"| ?[^{_JAVASCRIPT_SPACE}\p{{L}}\p{{N}}]+|[{_JAVASCRIPT_SPACE}]+(?![^{_JAVASCRIPT_SPACE}])"
            rf"|[{_JAVASCRIPT_SPACE}]+",
        ),
    ),
)


def expected_ids(value: Mapping[str, Any], texts: Sequence[str], *, reads_special: bool) -> list[list[int]]:
    """Ids of each text by the `tokenizers` library.

    Args:
        reads_special: take the names of special tokens in the text for those tokens, not for text.
    """
    tokenizer = Tokenizer.from_str(json.dumps(value))
    tokenizer.encode_special_tokens = not reads_special
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def compare(program: Program, made: Made, texts: Sequence[str]) -> Row:
    """Encode all texts with the merged tokenizer; where ids differ, say why, and see whether the base's do as well."""
    start = time.perf_counter()
    row = Row(client=program.name, version=program.version, base=made.name, n_added=made.n_added, n_lines=len(texts))
    try:
        found = program.encode(made.merged, texts)
        expected = expected_ids(made.merged.tokenizer_json, texts, reads_special=program.reads_special)
        differing = [i for i, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other]
        kinds, unexplained = _explain(program, made.merged, texts, found, differing)
        n_base_differing = _n_differing(program, made.base, [texts[i] for i in differing]) if differing else 0
    except Exception as error:  # a program that cannot take the tokenizer is a result, whatever it raises
        return replace(row, n_unexplained=len(texts), why=f"FAILED: {type(error).__name__}: {error}")
    examples = [
        {"text": texts[i], "expected": expected[i], "found": found[i]} for i in (unexplained or differing)[:_N_EXAMPLES]
    ]
    return replace(
        row,
        n_apart=sum(_is_apart(text, made.merged) for text in texts),
        n_differing=len(differing),
        n_base_differing=n_base_differing,
        n_unexplained=len(unexplained),
        kinds=kinds,
        examples=examples,
        seconds=round(time.perf_counter() - start, 1),
    )


def _is_apart(text: str, form: Form) -> bool:
    return "\0" in text or any(content in text for content in form.added_contents)


def _explain(
    program: Program, form: Form, texts: Sequence[str], found: Sequence[list[int]], differing: Sequence[int]
) -> tuple[dict[str, int], list[int]]:
    """Of the differing lines: explanation -> number; the places of those without one."""
    counts: Counter[str] = Counter()
    left = list(differing)
    for kind in KINDS:
        if left and kind.program == program.name and kind.applies(form):
            as_read = kind.as_read(form.tokenizer_json)
            modelled = expected_ids(as_read, [texts[i] for i in left], reads_special=program.reads_special)
            still = [i for i, ids in zip(left, modelled, strict=True) if ids != found[i]]
            counts[kind.explanation] += len(left) - len(still)
            left = still
    return {explanation: n for explanation, n in counts.items() if n}, left


def _n_differing(program: Program, form: Form, texts: Sequence[str]) -> int:
    expected = expected_ids(form.tokenizer_json, texts, reads_special=program.reads_special)
    return sum(one != other for one, other in zip(program.encode(form, texts), expected, strict=True))
