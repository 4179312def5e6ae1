"""What a rank file leaves out, split pattern and special tokens: told by options, by its name or by its content."""

import hashlib
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vocabopt.errors import BaseTokenizerError, OptionError
from vocabopt.text.utf8 import json_value, read_utf8
from vocabopt.tokenizer.published import KNOWN, RankFamily, numbered
from vocabopt.tokenizer.ranks import rank_file


def complete(
    path: Path, ranks: Mapping[bytes, int], pattern: str | None, specials: str | None, *, name: str = ""
) -> RankFamily:
    """What the rank file at `path` leaves out: told by --pattern and --specials, else by its name or its content.

    Args:
        name: the base's, where it says more than the path, as a hub id does.
        pattern: a name of `KNOWN`, or a regular expression.
        specials: a name of `KNOWN`, "none", or a file (`read_specials`).

    Raises:
        BaseTokenizerError: neither is told nor known, or more than one set of special tokens is published beside these
            ranks; then new ids could collide with special tokens.
        OptionError: an option's value cannot be used.
    """
    candidates = _candidates(path, name, ranks)
    is_decided = pattern in KNOWN or len(candidates) == 1
    if pattern is not None and pattern not in KNOWN and re.fullmatch(r"[\w.-]+", pattern):
        close = get_close_matches(pattern, KNOWN, n=2, cutoff=0.6)
        raise OptionError(
            f"--pattern {pattern}: is no known name, and a regular expression of letters alone would split nothing. "
            f"{f'Did you mean {close[0]}? ' if close else ''}Names known: {', '.join(KNOWN)}."
        )
    told = KNOWN.get(specials or "")
    # Ranks that are published with more than one set of special tokens have one pattern all the same.
    named = KNOWN.get(pattern or "", told if told in candidates else next(iter(candidates), None))
    regex = named.pattern if named is not None and (pattern is None or pattern in KNOWN) else pattern
    if told is not None:
        contents = told.specials
    elif specials is not None:
        contents = {} if specials == "none" else read_specials(Path(specials), ranks)
    elif named is not None and is_decided and regex == named.pattern and len(ranks) == named.n_ranks:
        told, contents = named, named.specials
    else:
        contents = None
    if regex is None or contents is None:
        missing = [
            *(["split pattern (--pattern NAME or REGEX)"] if regex is None else []),
            *(["special tokens (--specials NAME, FILE or none)"] if contents is None else []),
        ]
        published = " and ".join(family.name for family in candidates)
        raise BaseTokenizerError(
            f"{path}: is a tiktoken rank file of {len(ranks):,} ranks, and neither its name, its content nor the "
            f"options tell its {' and '.join(missing)}. Without them new ids could collide. "
            + (f"These are the ranks of {published}: say which." if candidates else f"Names known: {', '.join(KNOWN)}.")
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


def _candidates(path: Path, name: str, ranks: Mapping[bytes, int]) -> list[RankFamily]:
    """The families with these ranks: the one whose hint the file's, its folder's or the base's name bears; else all.

    A family whose file is published has its ranks and no others; of one whose file is not, a name and the number of
    ranks must do.
    """
    sha256 = hashlib.sha256(rank_file(dict(sorted(ranks.items(), key=lambda item: item[1])))).hexdigest()
    # As it was named and as it lies: in the hub's cache the file is a link to a name without meaning.
    names = "/".join((path.absolute().parent.name, path.name, path.resolve().parent.name, name)).lower()
    alike = [family for family in KNOWN.values() if family.sha256 == sha256]
    unpublished = [one for one in KNOWN.values() if one.sha256 is None and one.n_ranks == len(ranks)]
    hinted = [family for family in (*alike, *unpublished) if re.search(family.hint, names)]
    return hinted[:1] or alike


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
        return numbered(max(ranks.values()) + 1, lines)
    try:
        value: dict[str, Any] = json_value(text)
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
