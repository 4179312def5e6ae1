"""Split patterns and special tokens that are published beside rank files, by the names people know them by.

llama3, llama3.1   meta-llama/llama-models, models/llama3/tokenizer.py; llama3.1 with the names of Llama 3.1 to 3.3
qwen               QwenLM/Qwen, tokenization_qwen.py (Qwen2 and later come as tokenizer.json)
cl100k_base ...    openai/tiktoken, tiktoken_ext/openai_public.py
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vocabopt.bases.patterns import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN, QWEN_PATTERN
from vocabopt.byte_order_mark import read_utf8
from vocabopt.errors import BaseTokenizerError, OptionError


@dataclass(frozen=True, kw_only=True)
class RankFamily:
    """What a rank file leaves out. hint: what the file's or its folder's name looks like. names: bos_token, ..."""

    name: str
    hint: str
    n_ranks: int
    pattern: str
    specials: Mapping[str, int]
    normalizer: str | None = None
    begins_with_bos: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


def _numbered(first: int, contents: list[str]) -> dict[str, int]:
    return {content: first + i for i, content in enumerate(contents)}


def _reserved(first: int, last: int) -> list[str]:
    return [f"<|reserved_special_token_{i}|>" for i in range(first, last + 1)]


_LLAMA_3 = [
    *("<|begin_of_text|>", "<|end_of_text|>", *_reserved(0, 3), "<|start_header_id|>", "<|end_header_id|>"),
    *(*_reserved(4, 4), "<|eot_id|>", *_reserved(5, 250)),
]
_LLAMA_3_1 = [
    *("<|begin_of_text|>", "<|end_of_text|>", *_reserved(0, 1), "<|finetune_right_pad_id|>", *_reserved(2, 2)),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", *_reserved(3, 247)),
]
_LLAMA_NAMES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
_QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))]
_OPENAI_NAMES = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
_CL100K = {
    **_numbered(100_257, ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]),
    "<|endofprompt|>": 100_276,
}

#: Where two hints match, the first stands.
KNOWN = {
    family.name: family
    for family in (
        RankFamily(
            name="llama3.1",
            hint=r"llama[-_. ]?3[-_.][123]",
            n_ranks=128_000,
            pattern=CL100K_PATTERN,
            specials=_numbered(128_000, _LLAMA_3_1),
            begins_with_bos=True,
            names=_LLAMA_NAMES,
        ),
        RankFamily(
            name="llama3",
            hint=r"llama[-_. ]?3",
            n_ranks=128_000,
            pattern=CL100K_PATTERN,
            specials=_numbered(128_000, _LLAMA_3),
            begins_with_bos=True,
            names=_LLAMA_NAMES,
        ),
        RankFamily(
            name="qwen",
            hint=r"qwen",
            n_ranks=151_643,
            pattern=QWEN_PATTERN,
            specials=_numbered(151_643, _QWEN),
            normalizer="NFC",
            names={"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        ),
        RankFamily(
            name="r50k_base",
            hint=r"r50k|gpt-?2",
            n_ranks=50_256,
            pattern=GPT2_PATTERN,
            specials={"<|endoftext|>": 50_256},
            names=_OPENAI_NAMES,
        ),
        RankFamily(
            name="cl100k_base",
            hint=r"cl100k",
            n_ranks=100_256,
            pattern=CL100K_PATTERN,
            specials=_CL100K,
            names=_OPENAI_NAMES,
        ),
        RankFamily(
            name="o200k_base",
            hint=r"o200k",
            n_ranks=199_998,
            pattern=O200K_PATTERN,
            specials={"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018},
            names=_OPENAI_NAMES,
        ),
    )
}


def complete(
    path: Path, ranks: Mapping[bytes, int], pattern: str | None, specials: str | None, *, name: str = ""
) -> RankFamily:
    """What the rank file at `path` leaves out: told by --pattern and --specials, else by its name.

    Args:
        name: the base's, where it says more than the path, as a hub id does.
        pattern: a name of `KNOWN`, or a regular expression.
        specials: a name of `KNOWN`, "none", or a file (`read_specials`).

    Raises:
        BaseTokenizerError: neither is told nor known; then new ids could collide with special tokens.
        OptionError: an option's value cannot be used.
    """
    hinted = _by_name(path, name, ranks)
    if pattern is not None and pattern not in KNOWN and re.fullmatch(r"[\w.-]+", pattern):
        close = get_close_matches(pattern, KNOWN, n=2, cutoff=0.6)
        raise OptionError(
            f"--pattern {pattern}: is no known name, and a regular expression of letters alone would split nothing. "
            f"{f'Did you mean {close[0]}? ' if close else ''}Names known: {', '.join(KNOWN)}."
        )
    named = KNOWN.get(pattern or "", hinted)
    told = KNOWN.get(specials or "")
    regex = named.pattern if named is not None and (pattern is None or pattern in KNOWN) else pattern
    if told is not None:
        contents = told.specials
    elif specials is not None:
        contents = {} if specials == "none" else read_specials(Path(specials), ranks)
    elif named is not None and regex == named.pattern and len(ranks) == named.n_ranks:
        told, contents = named, named.specials
    else:
        contents = None
    if regex is None or contents is None:
        missing = [
            *(["split pattern (--pattern NAME or REGEX)"] if regex is None else []),
            *(["special tokens (--specials NAME, FILE or none)"] if contents is None else []),
        ]
        raise BaseTokenizerError(
            f"{path}: is a tiktoken rank file of {len(ranks):,} ranks, and neither its name nor the options tell its "
            f"{' and '.join(missing)}. Without them new ids could collide. Names known: {', '.join(KNOWN)}."
        )
    taken = {token.decode(errors="replace") for token in ranks} & contents.keys()
    if spelled_alike := sorted(taken):
        raise OptionError(
            f"--specials {specials}: {spelled_alike[0]!r} is an ordinary token of {path} too. Text would be taken for "
            "it; name special tokens that no text holds."
        )
    if clash := sorted(set(contents.values()) & set(ranks.values())):
        names = [content for content, index in contents.items() if index == clash[0]]
        raise OptionError(
            f"--specials {specials}: {names[0]!r} has the id {clash[0]}, which is a rank of {path} too. Special tokens "
            f"of this file come after {max(ranks.values())}."
        )
    return RankFamily(
        name=named.name if named is not None else path.stem,
        hint="",
        n_ranks=len(ranks),
        pattern=regex,
        specials=contents,
        normalizer=named.normalizer if named is not None else None,
        begins_with_bos=named is not None and named.begins_with_bos and told is not None,
        names={key: content for key, content in (told.names if told else {}).items() if content in contents},
    )


def _by_name(path: Path, name: str, ranks: Mapping[bytes, int]) -> RankFamily | None:
    """The first family whose hint the file's, its folder's or the base's name bears, and which has as many ranks."""
    # As it was named and as it lies: in the hub's cache the file is a link to a name without meaning.
    names = "/".join((path.absolute().parent.name, path.name, path.resolve().parent.name, name)).lower()
    return next((f for f in KNOWN.values() if re.search(f.hint, names) and f.n_ranks == len(ranks)), None)


def read_specials(path: Path, ranks: Mapping[bytes, int]) -> dict[str, int]:
    """Special tokens from a file: content -> id.

    A JSON object {content: id}, a tokenizer_config.json with `added_tokens_decoder`, or a line each, numbered from
    after the last rank.

    Raises:
        OptionError: the file is not there, or of another form.
    """
    try:
        text = read_utf8(path)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--specials {path}: cannot be read ({error}). Known by name: {', '.join(KNOWN)}.") from error
    if text.lstrip().startswith("["):
        raise OptionError(
            f"--specials {path}: is a list. Write a JSON object {{content: id}}, or a special token on each line."
        )
    if not text.lstrip().startswith("{"):
        lines = [line for line in text.splitlines() if line.strip()]
        if len(set(lines)) != len(lines):
            raise OptionError(f"--specials {path}: a special token comes twice.")
        return _numbered(max(ranks.values()) + 1, lines)
    try:
        value: dict[str, Any] = json.loads(text)
        if "added_tokens_decoder" in value:
            value = {token["content"]: int(index) for index, token in value["added_tokens_decoder"].items()}
    except (ValueError, TypeError, KeyError) as error:
        raise OptionError(f"--specials {path}: is not JSON of the form {{content: id}} ({error}).") from error
    bad = [content for content, index in value.items() if type(index) is not int or index < 0 or not content]
    if bad or len(set(value.values())) != len(value):
        raise OptionError(
            f"--specials {path}: {bad[0]!r} has no id of its own (a number from 0)."
            if bad
            else f"--specials {path}: an id comes twice."
        )
    return value
