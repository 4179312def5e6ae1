"""Unicode scripts: which one a text is written in, which characters belong to a target, and the guard on bytes.

The target of a set of scripts is made of the assigned characters whose EVERY script (Script_Extensions, else Script)
is chosen: "、" (U+3001) serves Hangul and a dozen more, so for Hangul alone it is other text, which must not change.

A byte-level base has pieces that end inside a character, so "holds a target character" is asked of bytes there: some
lead byte, with the bytes after it, must be a prefix that begins target characters and nothing else. Code points
without a character count as something else: a later Unicode may give them to another script.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vocabopt.errors import OptionError
from vocabopt.text.languages import scripts_of_language

N_CODE_POINTS = 0x110000
JAPANESE = ("Han", "Hiragana", "Katakana")
# Japanese cannot be written without kana, Chinese does without: the share tells them apart wherever the line is drawn.
MIN_KANA_SHARE = 0.10
# From this share of the letters on a writing system is a language of the text, not quotations in it.
MIN_SCRIPT_SHARE = 0.10

_NOT_A_WRITING_SYSTEM = {"Common", "Inherited", "Unknown", "Katakana_Or_Hiragana"}


# --- Scripts of text -------------------------------------------------------------------------------------------------


def dominant_script(text: str) -> str | None:
    """The script with most characters in `text` ("Hangul", "Old_Italic"), None when no character has one."""
    return next(iter(scripts_of_counts(Counter(text))), None)


def scripts_of_counts(char_counts: Mapping[str, int]) -> dict[str, int]:
    """Characters per script, most frequent first; Common, Inherited and Unknown are left out."""
    starts, values, names = _script_ranges()
    code_points = np.fromiter(map(ord, char_counts), dtype=np.int64, count=len(char_counts))
    scripts = values[np.searchsorted(starts, code_points, side="right") - 1]
    n_chars: Counter[str] = Counter()
    for script, count in zip(scripts.tolist(), char_counts.values(), strict=True):
        n_chars[names[script]] += count
    counted = ((name, n) for name, n in n_chars.items() if n > 0 and name not in _NOT_A_WRITING_SYSTEM)
    return dict(sorted(counted, key=lambda item: (-item[1], item[0])))


def find_target_scripts(char_counts: Mapping[str, int], min_share: float = MIN_SCRIPT_SHARE) -> tuple[str, ...]:
    """What `--script auto` takes: all writing systems but Latin that hold `min_share` of the letters, and the largest.

    None, (), where Latin has more letters than those together (on a draw they win) or where there are no letters. Han,
    Hiragana and Katakana count as one writing system where kana are at least a tenth of the three; otherwise Han is
    Chinese with quotations.
    """
    n_chars = scripts_of_counts(char_counts)
    n_letters = sum(n_chars.values())
    n_japanese = sum(n_chars.get(script, 0) for script in JAPANESE)
    n_kana = n_japanese - n_chars.get("Han", 0)
    writing_systems: dict[tuple[str, ...], int] = {(script,): n for script, n in n_chars.items()}
    if n_japanese > 0 and n_kana >= MIN_KANA_SHARE * n_japanese:
        writing_systems = {scripts: n for scripts, n in writing_systems.items() if scripts[0] not in JAPANESE}
        writing_systems[JAPANESE] = n_japanese
    n_latin = writing_systems.pop(("Latin",), 0)
    largest = min(writing_systems, key=lambda scripts: (-writing_systems[scripts], scripts), default=())
    taken = {scripts: n for scripts, n in writing_systems.items() if n >= min_share * n_letters or scripts == largest}
    if sum(taken.values()) < n_latin:
        return ()
    return tuple(sorted(script for scripts in taken for script in scripts))


def parse_scripts(value: str) -> tuple[str, ...] | None:
    """`--script`: "auto" is None (look at the text), "none" is (), else canonical names, sorted, from "Hangul,hani"."""
    if value.strip().lower() == "auto":
        return None
    if value.strip().lower() == "none":
        return ()
    known = _scripts_by_loose_name()
    chosen = set()
    for part in value.split(","):
        loose = _loose(part)
        if loose not in known:
            written = scripts_of_language(part)
            close = sorted({known[match] for match in get_close_matches(loose, known, n=3, cutoff=0.75)})
            meant = written or " or ".join(close)
            hint = f"Did you mean {meant}? " if meant else ""
            raise OptionError(
                f"--script {value!r}: {part.strip()!r} is not a Unicode script. {hint}"
                "Give auto, none, or names such as Hangul or Han,Hiragana,Katakana."
            )
        chosen.add(known[loose])
    return tuple(sorted(chosen))


def _loose(name: str) -> str:
    """Names compare without case, space, hyphen and underscore, as Unicode asks of property values."""
    return re.sub(r"[-_\s]", "", name).lower()


@cache
def _scripts_by_loose_name() -> dict[str, str]:
    """Every script that can be a target, by its name and its ISO code: "hangul" and "hang" -> "Hangul"."""
    from fontTools.unicodedata import Scripts

    names = [(code, name) for code, name in Scripts.NAMES.items() if name not in _NOT_A_WRITING_SYSTEM]
    return {_loose(key): name for code, name in names for key in (code, name)}


@cache
def _script_ranges() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16], list[str]]:
    """First code point of each range of one script, that script as an index, and the names it points at."""
    from fontTools.unicodedata import Scripts

    codes = sorted(Scripts.NAMES)
    index = {code: i for i, code in enumerate(codes)}
    values = np.array([index[code] for code in Scripts.VALUES], dtype=np.int16)
    return np.array(Scripts.RANGES, dtype=np.int64), values, [Scripts.NAMES[code] for code in codes]


# --- Target characters -----------------------------------------------------------------------------------------------


@cache
def target_mask(scripts: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """For each of the 0x110000 code points: is it a character of the target (see the module's first lines)?"""
    from fontTools.unicodedata import ScriptExtensions, Scripts

    codes = {code for code, name in Scripts.NAMES.items() if name in scripts}
    assert len(codes) == len(scripts), f"not the names parse_scripts gives: {scripts}"
    by_script = _spread(Scripts.RANGES, [value in codes for value in Scripts.VALUES])
    has_extensions = _spread(ScriptExtensions.RANGES, [value is not None for value in ScriptExtensions.VALUES])
    all_chosen = _spread(
        ScriptExtensions.RANGES, [value is not None and value <= codes for value in ScriptExtensions.VALUES]
    )
    mask = np.where(has_extensions, all_chosen, by_script)
    mask.flags.writeable = False  # one array serves every caller
    return mask


def _spread(starts: list[int], values: list[bool]) -> npt.NDArray[np.bool_]:
    """One value per range of code points -> one value per code point."""
    return np.repeat(np.array(values), np.diff([*starts, N_CODE_POINTS]))


def contains_target(text: str, scripts: tuple[str, ...]) -> bool:
    """Does `text` hold a character of the target?"""
    return _target_pattern(scripts).search(text) is not None


@cache
def _target_pattern(scripts: tuple[str, ...]) -> re.Pattern[str]:
    """The target as a character class: searching it is some 15 times faster than asking the mask of each character."""
    edges = np.flatnonzero(np.diff(target_mask(scripts), prepend=False, append=False)).tolist()
    ranges = [rf"\U{first:08x}-\U{end - 1:08x}" for first, end in zip(edges[::2], edges[1::2], strict=True)]
    return re.compile(f"[{''.join(ranges)}]" if ranges else r"(?!)")


# --- The guard on bytes ----------------------------------------------------------------------------------------------

# States of the automaton. Prefixes that begin only target characters, or none, share a state per number of bytes still
# to come; each prefix that begins both has a state of its own.
BETWEEN = 0  # nothing is pending
_OUTSIDE = 0  # 1, 2, 3: one, two, three bytes to come, no target character among the outcomes
_INSIDE = 3  # 4, 5, 6: one, two, three bytes to come, nothing but target characters
_FIRST_MIXED = 7

_CONTINUATION_BYTES = range(0x80, 0xC0)
# Length of the encoding -> its lead bytes, its first code point. C0, C1 and F5-FF occur in no encoding.
_LEAD_BYTES = {2: (range(0xC2, 0xE0), 0x80), 3: (range(0xE0, 0xF0), 0x800), 4: (range(0xF0, 0xF5), 0x10000)}


@dataclass(frozen=True, eq=False)
class ByteGuard:
    """An automaton over UTF-8 bytes that tells, at each byte, whether the character so far can only be a target one.

    A byte that cannot follow (a lead byte inside a character) is read as if nothing were pending; a continuation byte
    with nothing pending is skipped. Neither occurs in a piece that comes from text and starts at a character.
    """

    next_state: npt.NDArray[np.int16]  # [n_states, 256]
    accepts: npt.NDArray[np.bool_]  # [n_states, 256]


@cache
def byte_guard(scripts: tuple[str, ...]) -> ByteGuard:
    """The guard of `scripts`; without scripts it accepts nothing."""
    return guard_of_mask(target_mask(scripts))


def guard_of_mask(mask: npt.NDArray[np.bool_]) -> ByteGuard:
    """The guard of any set of code points, given as a mask over all of them."""
    encodable = np.ones(N_CODE_POINTS, dtype=np.bool_)
    encodable[0xD800:0xE000] = False  # surrogates have no UTF-8, so they count neither way
    n_encodable_below = np.concatenate([[0], np.cumsum(encodable)])
    n_target_below = np.concatenate([[0], np.cumsum(mask & encodable)])
    next_rows = [np.zeros(256, dtype=np.int16) for _ in range(_FIRST_MIXED)]
    accept_rows = [np.zeros(256, dtype=np.bool_) for _ in range(_FIRST_MIXED)]

    def step(state: int, byte: int, bits: int, n_to_come: int, lowest: int) -> None:
        """Fill in `byte` from `state`: it makes a prefix of value `bits` with `n_to_come` bytes still to come."""
        first = max(bits << 6 * n_to_come, lowest)
        end = max(first, min((bits + 1) << 6 * n_to_come, N_CODE_POINTS))
        n_encodable = n_encodable_below[end] - n_encodable_below[first]
        n_target = n_target_below[end] - n_target_below[first]
        accept_rows[state][byte] = n_target == n_encodable > 0
        if n_to_come == 0:
            next_rows[state][byte] = BETWEEN
        elif n_target == 0:
            next_rows[state][byte] = _OUTSIDE + n_to_come
        elif n_target == n_encodable:
            next_rows[state][byte] = _INSIDE + n_to_come
        else:
            mixed = next_rows[state][byte] = len(next_rows)
            next_rows.append(np.zeros(256, dtype=np.int16))
            accept_rows.append(np.zeros(256, dtype=np.bool_))
            for following in _CONTINUATION_BYTES:
                step(mixed, following, bits << 6 | following & 0x3F, n_to_come - 1, lowest)

    accept_rows[BETWEEN][:0x80] = mask[:0x80]
    for length, (leads, lowest) in _LEAD_BYTES.items():
        for lead in leads:
            step(BETWEEN, lead, lead & (0x7F >> length), length - 1, lowest)
    next_state, accepts = np.stack(next_rows), np.stack(accept_rows)
    for n_to_come in (1, 2, 3):
        next_state[_OUTSIDE + n_to_come, 0x80:0xC0] = _OUTSIDE + n_to_come - 1 if n_to_come > 1 else BETWEEN
        next_state[_INSIDE + n_to_come, 0x80:0xC0] = _INSIDE + n_to_come - 1 if n_to_come > 1 else BETWEEN
    accepts[_INSIDE + 1 : _INSIDE + 4, 0x80:0xC0] = True
    for cannot_follow in (slice(0, 0x80), slice(0xC0, 0x100)):
        next_state[1:, cannot_follow] = next_state[BETWEEN, cannot_follow]
        accepts[1:, cannot_follow] = accepts[BETWEEN, cannot_follow]
    next_state.flags.writeable = accepts.flags.writeable = False  # one guard serves every caller
    return ByteGuard(next_state=next_state, accepts=accepts)


def piece_is_guarded(piece: bytes, guard: ByteGuard) -> bool:
    """May a byte-level base learn `piece`: does it start a character, and hold what can only be target characters?

    The piece may end inside a character.
    """
    if not piece or piece[0] in _CONTINUATION_BYTES:
        return False
    state = BETWEEN
    for byte in piece:
        if guard.accepts[state, byte]:
            return True
        state = int(guard.next_state[state, byte])
    return False


class PrefixRange(NamedTuple):
    """Accepted prefixes that differ in their last byte only: EA B0-BF."""

    first: bytes
    last: bytes

    def __str__(self) -> str:
        shown = self.first.hex(" ").upper()
        return shown if self.first == self.last else f"{shown}-{self.last[-1:].hex().upper()}"


def minimal_prefixes(scripts: tuple[str, ...]) -> list[PrefixRange]:
    """The guard of `scripts` as a table: the accepted prefixes of which no shorter one is accepted, in byte order."""
    guard = byte_guard(scripts)
    ranges: list[PrefixRange] = []

    def walk(state: int, prefix: bytes) -> None:
        for byte in _CONTINUATION_BYTES if prefix else range(256):
            longer = prefix + bytes([byte])
            if guard.accepts[state, byte]:
                if ranges and ranges[-1].last == prefix + bytes([byte - 1]):
                    ranges[-1] = PrefixRange(ranges[-1].first, longer)
                else:
                    ranges.append(PrefixRange(longer, longer))
            elif guard.next_state[state, byte] >= _FIRST_MIXED:
                walk(int(guard.next_state[state, byte]), longer)

    walk(BETWEEN, b"")
    return ranges
