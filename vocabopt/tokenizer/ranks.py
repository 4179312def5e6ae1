"""Rank files of tiktoken (a line a token: base64 of its bytes, its rank), and the tokenizer.json that encodes alike.

tiktoken takes a pre-token that is a token as it is; otherwise it joins, among all neighbours whose bytes together are
a token, those of the lowest rank, leftmost first (openai/tiktoken, src/lib.rs, byte_pair_merge). So every split of a
token into two tokens is a merge of that token's rank, and `ignore_merges` is on. A rank file holds neither the split
pattern nor the special tokens: options say them, its name or its content does (`complete`).

Tekken, the tokenizers of Mistral NeMo and later, is a JSON file of ranks, of which the first are used. Special tokens
have the first ids, rank r has the id n_special + r. A file holds more ranks than the model's vocabulary has room for;
the config's sizes say how many count (mistral-common, tokens/tokenizers/tekken.py).
"""

import base64
import binascii
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocabopt.errors import BaseTokenizerError, OptionError, did_you_mean
from vocabopt.text.utf8 import json_value, read_utf8
from vocabopt.tokenizer.families import decoded, spelled
from vocabopt.tokenizer.published import KNOWN, RankFamily, numbered
from vocabopt.tokenizer.tokenizer_json import added_token, bos_first, bpe_model, split_step, whole_json

#: The token of no bytes.
_NO_BYTES = b"="
#: Special tokens of files that do not list theirs (v3 to v7), in the order of their ids.
_UNLISTED = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)
_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def is_rank_file(data: bytes) -> bool:
    """Does it begin as a rank file does?"""
    return re.match(rb"[A-Za-z0-9+/=]+ \d+\r?\n", data[:200]) is not None


def parse_ranks(data: bytes, place: str) -> dict[bytes, int]:
    """Token -> rank, by rank.

    Raises:
        BaseTokenizerError: a line is neither blank nor base64 and a number, or a token or rank comes twice.
    """
    try:
        return dict(_ranks_of(data))
    except BaseTokenizerError as error:
        raise BaseTokenizerError(f"{place}, {error}") from error


@functools.lru_cache(maxsize=2)
def _ranks_of(data: bytes) -> dict[bytes, int]:
    """A merge with its proof asks for the ranks of two files eight times."""
    ranks: dict[bytes, int] = {}
    taken: set[int] = set()
    for number, line in ((number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()):
        try:
            written, rank = line.split()
            # Whisper's file ends with an empty token, so written; every decoder of base64 reads it as no bytes.
            token = b"" if written == _NO_BYTES else binascii.a2b_base64(written, strict_mode=True)
            value = int(rank)
        except (ValueError, binascii.Error) as error:
            raise BaseTokenizerError(
                f"line {number}: {line[:60]!r} is not a token in base64 and its rank. Fetch the file again."
            ) from error
        if token in ranks or value in taken:
            raise BaseTokenizerError(f"line {number}: the token {token!r} or its rank {value} comes twice.")
        ranks[token] = value
        taken.add(value)
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def rank_file(ranks: Mapping[bytes, int]) -> bytes:
    """The inverse of `parse_ranks`."""
    return b"".join(b"%s %d\n" % (base64.b64encode(token) or _NO_BYTES, rank) for token, rank in ranks.items())


def merges_of_ranks(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every split of a token into two tokens, by the token's rank, then by those of its parts."""
    merges: list[tuple[bytes, bytes]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        # Loops and not generators: a vocabulary has 100,000 tokens, and this is most of loading it.
        splits = []
        for cut in range(1, len(token)):
            if (left := token[:cut]) in ranks and (right := token[cut:]) in ranks:
                splits.append((left, right))
        if len(splits) > 1:
            splits.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += splits
    return merges


def byte_level_json(
    ranks: Mapping[bytes, int],
    specials: Mapping[str, int],
    *,
    pattern: str,
    normalizer: str | None = None,
    bos: str | None = None,
    first_id: int = 0,
) -> dict[str, Any]:
    """tokenizer.json of ranks: same ids as tiktoken gives for ordinary text.

    Args:
        specials: content -> id; they are added tokens, and in the vocabulary too, since the `tokenizers` library
            numbers anew what the vocabulary lacks.
        normalizer: a Unicode normal form that the publisher's code applies first.
        bos: the special token that documents begin with.
        first_id: id of rank 0.
    """
    spelling = {token: spelled(token) for token in ranks}
    vocab = {spelling[token]: first_id + rank for token, rank in ranks.items()}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return whole_json(
        bpe_model(
            {**vocab, **specials},
            ((spelling[left], spelling[right]) for left, right in merges_of_ranks(ranks)),
            ignore_merges=True,
        ),
        [added_token(index, content, special=True) for content, index in specials.items()],
        normalizer=normalizer and {"type": normalizer},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [split_step(pattern), {**byte_level, "use_regex": False}]},
        post_processor=bos_first(bos, specials[bos]) if bos is not None else {**byte_level, "use_regex": True},
        decoder={**byte_level, "use_regex": True},
    )


# --- What a rank file leaves out --------------------------------------------------------------------------------------


def complete(
    path: Path, ranks: Mapping[bytes, int], pattern: str | None, specials: str | None, *, name: str = ""
) -> RankFamily:
    """What the rank file at `path` leaves out: said by --pattern and --specials, else by its name or its content.

    Args:
        name: the base's, where it says more than the path, as a hub id does.
        pattern: a name of `KNOWN`, or a regular expression.
        specials: a name of `KNOWN`, "none", or a file (`read_specials`).

    Raises:
        BaseTokenizerError: neither is given nor known, or more than one set of special tokens is published beside these
            ranks; then new ids could collide with special tokens.
        OptionError: an option's value cannot be used.
    """
    if pattern is not None and pattern not in KNOWN and re.fullmatch(r"[\w.-]+", pattern):
        # A model's name, as gpt2, is that of the family whose files it has.
        meant = next(
            (family.name for family in KNOWN.values() if re.fullmatch(family.hint, pattern, re.IGNORECASE)), ""
        )
        hint = f"Did you mean {meant}? " if meant else did_you_mean(pattern, KNOWN)
        raise OptionError(
            f"--pattern {pattern}: is no known name, and a regular expression of letters alone would split nothing. "
            f"{hint}Names known: {', '.join(KNOWN)}."
        )
    candidates, chosen = _candidates(path, name, ranks), KNOWN.get(specials or "")
    # Ranks that are published with more than one set of special tokens have one pattern all the same.
    named = KNOWN.get(pattern or "", chosen if chosen in candidates else next(iter(candidates), None))
    regex = named.pattern if named is not None and (pattern is None or pattern in KNOWN) else pattern
    contents: Mapping[str, int] | None = None
    if chosen is None and specials is not None:
        contents = {} if specials == "none" else read_specials(Path(specials), ranks)
    elif chosen is None and named is not None and (pattern in KNOWN or len(candidates) == 1):
        chosen = named if regex == named.pattern and len(ranks) == named.n_ranks else None
    if chosen is not None:
        contents = chosen.specials
    if regex is None or contents is None:
        missing = ["split pattern (--pattern NAME or REGEX)"] if regex is None else []
        missing += ["special tokens (--specials NAME, FILE or none)"] if contents is None else []
        published = " and ".join(family.name for family in candidates)
        raise BaseTokenizerError(
            f"{path}: is a tiktoken rank file of {len(ranks):,} ranks, and neither its name, its content nor the "
            f"options tell its {' and '.join(missing)}. Without them new ids could collide. "
            + (f"These are the ranks of {published}: say which." if candidates else f"Names known: {', '.join(KNOWN)}.")
        )
    if taken := sorted({token.decode(errors="replace") for token in ranks} & contents.keys()):
        raise OptionError(
            f"--specials {specials}: {taken[0]!r} is an ordinary token of {path} too. Text would be taken for it; name "
            "special tokens that no text holds."
        )
    if clash := sorted(set(contents.values()) & set(ranks.values())):
        content = next(content for content, index in contents.items() if index == clash[0])
        raise OptionError(
            f"--specials {specials}: {content!r} has the id {clash[0]}, which is a rank of {path} too. Special tokens "
            f"of this file come after {max(ranks.values())}."
        )
    names = {key: content for key, content in (chosen.names if chosen else {}).items() if content in contents}
    return RankFamily(
        name=named.name if named is not None else path.stem,
        hint="",
        n_ranks=len(ranks),
        pattern=regex,
        specials=contents,
        normalizer=named.normalizer if named is not None else None,
        begins_with_bos=named is not None and named.begins_with_bos and chosen is not None,
        names=names,
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
    place = f"--specials {path}"
    try:
        text = read_utf8(path)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{place}: cannot be read ({error}). Known by name: {', '.join(KNOWN)}.") from error
    if text.lstrip().startswith("["):
        raise OptionError(f"{place}: is a list. Write a JSON object {{content: id}}, or a special token on each line.")
    if not text.lstrip().startswith("{"):
        lines = [line for line in text.splitlines() if line.strip()]
        if len(set(lines)) != len(lines):
            raise OptionError(f"{place}: a special token comes twice.")
        return numbered(max(ranks.values()) + 1, lines)
    try:
        value: dict[str, Any] = json_value(text)
        if "added_tokens_decoder" in value:
            value = {token["content"]: int(index) for index, token in value["added_tokens_decoder"].items()}
    except (ValueError, TypeError, KeyError) as error:
        raise OptionError(f"{place}: is not JSON of the form {{content: id}} ({error}).") from error
    for content, index in value.items():
        if type(index) is not int or index < 0 or not content:
            raise OptionError(f"{place}: {content!r} has no id of its own (a number from 0).")
    if len(set(value.values())) != len(value):
        raise OptionError(f"{place}: an id comes twice.")
    return value


# --- Tekken -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Tekken:
    """The part of a Tekken file that counts. ranks: of the tokens in use. specials: content -> id."""

    document: Mapping[str, Any]
    ranks: Mapping[bytes, int]
    specials: Mapping[str, int]
    pattern: str

    def names(self) -> dict[str, str]:
        """bos_token, eos_token ... as tokenizer_config.json names them."""
        return {name: content for name, content in _NAMES.items() if content in self.specials}

    def tokenizer_json(self) -> dict[str, Any]:
        """tokenizer.json with the same ids on ordinary text."""
        bos, first_id = self.names().get("bos_token"), len(self.specials)
        return byte_level_json(self.ranks, self.specials, pattern=self.pattern, bos=bos, first_id=first_id)

    def extended(self, texts: Sequence[bytes], *, pattern: str) -> bytes:
        """The file with more tokens behind those in use, and a split pattern; ranks that were not in use give way."""
        return self.with_tokens([*self.ranks, *texts], pattern=pattern)

    def with_tokens(self, tokens: Sequence[bytes], *, pattern: str) -> bytes:
        """The file with these tokens, by rank, and a split pattern."""
        vocab = [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": decoded(token)}
            for rank, token in enumerate(tokens)
        ]
        sizes = {"num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) + len(self.specials)}
        config = {**self.document["config"], **sizes, "pattern": pattern}
        return json.dumps({**self.document, "config": config, "vocab": vocab}, ensure_ascii=False).encode()


def is_tekken(value: Any) -> bool:
    """Is this parsed JSON a Tekken file?"""
    return isinstance(value, dict) and {"config", "vocab"} <= value.keys() and isinstance(value["vocab"], list)


def parse_tekken(document: Mapping[str, Any], place: str) -> Tekken:
    """Take the tokens in use out of a Tekken file.

    Raises:
        BaseTokenizerError: a field is missing or does not fit the others.
    """
    try:
        config = document["config"]
        n_special, n_total = int(config["default_num_special_tokens"]), int(config["default_vocab_size"])
        pattern = str(config["pattern"])
        listed = document.get("special_tokens")
        specials = {content: index for index, content in enumerate(_UNLISTED)}
        if listed is not None:
            specials = {token["token_str"]: int(token["rank"]) for token in listed}
        specials |= {f"<SPECIAL_{index}>": index for index in range(len(specials), n_special)}
        used = document["vocab"][: n_total - n_special]
        ranks = {base64.b64decode(entry["token_bytes"]): int(entry["rank"]) for entry in used}
    except (KeyError, TypeError, ValueError) as error:
        raise BaseTokenizerError(f"{place}: is not a whole Tekken file ({type(error).__name__}: {error}).") from error
    if list(ranks.values()) != list(range(n_total - n_special)) or sorted(specials.values()) != list(range(n_special)):
        raise BaseTokenizerError(
            f"{place}: a Tekken file whose sizes do not fit: {len(ranks):,} ranks and {len(specials):,} special tokens "
            f"for a vocabulary of {n_total:,} with {n_special:,} special ones. Fetch the file again."
        )
    return Tekken(document=document, ranks=ranks, specials=specials, pattern=pattern)
