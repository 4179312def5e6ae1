r"""Split patterns of tokenizer.json (Oniguruma's regular expressions), written anew for JavaScript and for Python.

Nothing that knows Unicode is left to the browser or to `re`. Each part of a pattern that stands for one character
(`\p{L}`, `[^\r\n]`, an `s` without regard to case) becomes a set of classes, as `tokenizers` itself says
(`matched_by`); the text is turned into its classes, one symbol a character, and what is matched is symbols. What is
left is order: alternatives, repetition and lookahead, which all three take from left to right, backtracking. A part
whose meaning could differ is refused. The page of a report (report/playground.py) and the counting of pre-tokens
(tokenizer/pretokens.py) match with what is made here.

The regular expressions of `tokenizers` (Oniguruma), its Rust functions and its normalisers come with Unicode versions
of their own, none of them the browser's or Python's. So the library is asked, and no table here can go stale.

A set of code points is a boolean array over `POINTS`: planes 0 to 3 and 14 to 16, and U+40000 in place of planes 4 to
13, to which Unicode has assigned nothing. The tests ask of every code point.
"""

import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers

from vocabopt.errors import PlaygroundError

# --- Which code points ------------------------------------------------------------------------------------------------

_UNASSIGNED = (0x40000, 0xE0000)
_SURROGATES = (0xD800, 0xE000)
#: Combining marks of the lowest and of a high class that no character is composed with.
_LOW_MARK, _HIGH_MARK = "\u0334", "\u0315"


@functools.cache
def points() -> NDArray[np.uint32]:
    """The code points asked about, in order."""
    first, last = _UNASSIGNED
    every = [range(_SURROGATES[0]), range(_SURROGATES[1], first + 1), range(last, 0x110000)]
    return np.concatenate([np.arange(part.start, part.stop, dtype=np.uint32) for part in every])


@functools.cache
def _text() -> str:
    return points().tobytes().decode("utf-32-le")


def _members(text: str) -> NDArray[np.bool_]:
    return np.isin(points(), np.frombuffer(text.encode("utf-32-le"), np.uint32), assume_unique=True)


@functools.cache
def matched_by(pattern: str) -> NDArray[np.bool_]:
    """The code points that a pattern for single characters matches, as a split pattern of tokenizer.json.

    Raises:
        ValueError: the pattern cannot be compiled.
    """
    try:
        compiled = Regex(f"(?:{pattern})+")
    except Exception as error:  # the binding raises plain Exception
        raise ValueError(str(error)) from error
    # A letter without regard to case is one of the few that some letter is: the whole of Unicode is asked once.
    text = _letters_of_any_case() if _LETTER.fullmatch(pattern) else _text()
    removed = normalizers.Replace(compiled, "").normalize_str(text)
    return _members(text) & ~_members(removed)


@functools.cache
def _letters_of_any_case() -> str:
    return "".join(map(chr, points()[matched_by("(?i:[a-z])")].tolist()))


@functools.cache
def split_off_by(step: str) -> NDArray[np.bool_]:
    """The code points that a pre-tokenizer, given as JSON, takes for separators; it must keep runs of them whole."""
    splitter = _tokenizer(pre_tokenizer=json.loads(step)).pre_tokenizer
    members = np.zeros(len(points()), bool)
    # U+0000 is none, and the two kinds alternate.
    for _, (start, end) in splitter.pre_tokenize_str(_text())[1::2]:
        members[start:end] = True
    return members


@functools.cache
def active_in(form: str) -> NDArray[np.bool_]:
    """The code points that a Unicode normal form decomposes, reorders or composes with others.

    All others stand apart from their neighbours. A browser of a newer Unicode normalises more characters; those active
    here it treats as the library does, since normal forms of assigned characters never change.
    """
    decompose = _tokenizer(normalizer={"type": "NFKD" if "K" in form else "NFD"}).normalizer.normalize_str
    # A character of a combining class lets the low mark pass it, to its place before the high one.
    cases = [f"{_HIGH_MARK}{char}{_LOW_MARK}" for char in _text() if char != "\n"]
    found = decompose("\n".join(cases)).split("\n")
    changed = [(case[1], after) for case, after in zip(cases, found, strict=True) if case != after]
    composed = {char for _, after in changed for char in after}
    return _members("".join(sorted(composed.union(char for char, _ in changed))))


def white_space() -> NDArray[np.bool_]:
    """The code points that `lstrip` and `rstrip` of an added token take: Unicode's White_Space, as in patterns."""
    return matched_by(r"\s")


@functools.cache
def word_characters() -> NDArray[np.bool_]:
    """The code points beside which an added token with `single_word` does not stand. Takes seconds."""
    tokenizer = _tokenizer(model=json.loads(Tokenizer(models.BPE({"@": 0}, [])).to_str())["model"])
    tokenizer.add_tokens([AddedToken("@@", single_word=True, normalized=False)])
    encodings = tokenizer.encode_batch_fast([f"@@{char}" for char in _text()])
    return np.asarray([encoding.ids == [0, 0] for encoding in encodings])


def _tokenizer(**parts: Any) -> Tokenizer:
    plain = json.loads(Tokenizer(models.BPE()).to_str())
    return Tokenizer.from_str(json.dumps({**plain, **parts}))


def runs_of(keys: NDArray[Any]) -> tuple[list[int], list[int]]:
    """Runs of code points with an equal key: where each starts, less where the one before does, and its class.

    Classes are numbered in the order of the runs in which they first occur.
    """
    first = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
    numbers: dict[int, int] = {}
    classes = [numbers.setdefault(key, len(numbers)) for key in keys[first].tolist()]
    starts = points()[first].astype(np.int64)
    return np.diff(starts, prepend=0).tolist(), classes


def partition(sets: list[NDArray[np.bool_]]) -> tuple[tuple[list[int], list[int]], list[list[int]]]:
    """The coarsest classes of code points of which every set is a union: their runs, and the classes of each set."""
    keys = np.zeros(len(points()), np.uint64)
    assert len(sets) <= 64
    for bit, members in enumerate(sets):
        keys |= members.astype(np.uint64) << np.uint64(bit)
    starts, classes = runs_of(keys)
    n_classes = max(classes) + 1
    where = np.searchsorted(points(), np.cumsum(starts))
    representative = [int(where[classes.index(number)]) for number in range(n_classes)]
    return (starts, classes), [[c for c, point in enumerate(representative) if members[point]] for members in sets]


# --- Patterns ---------------------------------------------------------------------------------------------------------

#: Two ASCII letters that one character stands for when case does not count: ss (ß), ff, fi, fl, st.
_FOLDED_PAIRS = frozenset({"ss", "ff", "fi", "fl", "st"})
_ESCAPE = re.compile(
    r"\\(?:[pP]\{\^?[\w ]+\}|[sSdDwWhH]|x\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[rntfvae]|[^\w\s])"
)
_LETTER = re.compile(r"\(\?i:[A-Za-z]\)")
_INTERVAL = re.compile(r"\{(?=,?\d)(\d*)(,?)(\d*)\}")
_POSIX = re.compile(r"\[:\^?\w+:\]")
#: Symbols of classes are letters without a meaning of their own in regular expressions.
FIRST_SYMBOL = 0x100


@dataclass(frozen=True)
class One:
    """One character of a set. source: what Oniguruma is asked; empty for one character as it is."""

    source: str
    character: str = ""

    def members(self) -> NDArray[np.bool_]:
        return points() == ord(self.character) if self.character else matched_by(self.source)


@dataclass(frozen=True)
class Pattern:
    """A pattern, or a part of one, in JavaScript; where it stands for one character there is a `One`.

    n_least: how many characters it matches at least. is_repeat, most, how: a repetition, -1 for no bound, "" greedy,
    "?" lazy, "+" possessive. is_place: it has no character of its own, as a lookahead.
    """

    parts: tuple[str | One, ...]
    n_least: int
    is_repeat: bool = False
    most: int = 1
    how: str = ""
    is_place: bool = False

    @property
    def ones(self) -> list[One]:
        return [part for part in self.parts if isinstance(part, One)]

    def in_javascript(self, classes_of: Callable[[One], list[int]]) -> str:
        """The pattern over symbols of classes. classes_of: those of which a part for one character is made."""

        def written(part: str | One) -> str:
            if isinstance(part, str):
                return part
            symbols = "".join(chr(FIRST_SYMBOL + number) for number in classes_of(part))
            return symbols if len(symbols) == 1 else f"[{symbols}]"

        return "".join(map(written, self.parts))

    def in_python(self, classes_of: Callable[[One], list[int]]) -> re.Pattern[str]:
        """The same for `re`, which names groups otherwise."""
        written = re.sub(r"\(\?<(\w+)>", r"(?P<\1>", self.in_javascript(classes_of))
        return re.compile(re.sub(r"\\k<(\w+)>", r"(?P=\1)", written))

    @property
    def sees_start(self) -> bool:
        """Whether it asks where a text begins."""
        return "^" in self.parts


def single(one: One) -> Pattern:
    return Pattern((one,), 1)


_START = Pattern(("^",), 0, is_place=True)
_LINE_END = Pattern(("(?!", One("[^\\n]"), ")"), 0, is_place=True)
_END = Pattern(("(?!", One("[\\s\\S]"), ")"), 0, is_place=True)


def parse(pattern: str) -> Pattern:
    """Read a pattern.

    Raises:
        PlaygroundError: it holds something that JavaScript could take in another way.
    """
    parser = _Parser(pattern)
    read = parser.choice(ignores_case=False)
    if parser.at < len(pattern):
        raise parser.refuse("an unmatched )")
    if read.n_least == 0:
        raise parser.refuse("a match of nothing")
    return read


def literal(text: str) -> Pattern:
    """A pattern that is the text itself."""
    return Pattern(tuple(One("", char) for char in text), len(text))


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.at, self.n_atomic = pattern, 0, 0

    def refuse(self, what: str) -> PlaygroundError:
        return PlaygroundError(
            f"The split pattern {self.pattern!r} holds {what} at character {self.at}, which the page cannot repeat "
            "exactly."
        )

    def sees(self, text: str) -> bool:
        return self.pattern.startswith(text, self.at)

    def choice(self, *, ignores_case: bool) -> Pattern:
        rows = [self.row(ignores_case)]
        while self.sees("|"):
            self.at += 1
            rows.append(self.row(ignores_case))
        if len(rows) == 1:
            return rows[0]
        parts = [part for row in rows for part in ("|", *row.parts)]
        return Pattern(("(?:", *parts[1:], ")"), min(row.n_least for row in rows))

    def row(self, ignores_case: bool) -> Pattern:
        row: list[Pattern] = []
        while self.at < len(self.pattern) and not self.sees("|") and not self.sees(")"):
            row.append(self.repeated(self.part(ignores_case)))
            if ignores_case:
                self.check_folds(row)
        if len(row) == 1:
            return row[0]
        return Pattern(tuple(part for given in row for part in given.parts), sum(given.n_least for given in row))

    def check_folds(self, row: Sequence[Pattern]) -> None:
        """Refuse a last part that without regard to case could be one character together with its neighbour."""
        last, before = _letters(row[-1]), _letters(row[-2]) if len(row) > 1 else set()
        if row[-1].most != 1:
            before = before | last
        if pairs := sorted({left + right for left in before for right in last} & _FOLDED_PAIRS):
            raise self.refuse(f"{pairs[0]} without regard to case")

    def part(self, ignores_case: bool) -> Pattern:
        if self.sees("("):
            return self.group(ignores_case)
        for sign, place in (("$", _LINE_END), ("\\A", _START), ("\\z", _END)):
            if self.sees(sign):
                self.at += len(sign)
                return place
        if self.sees("["):
            return self.one(self.bracket_end(), ignores_case)
        if found := _ESCAPE.match(self.pattern, self.at):
            return self.one(found.end(), ignores_case)
        char = self.pattern[self.at]
        if char in "\\^*+?{":
            raise self.refuse(self.pattern[self.at : self.at + 2])
        if char == "." or ignores_case:
            return self.one(self.at + 1, ignores_case)
        self.at += 1
        return single(One("", char))

    def one(self, end: int, ignores_case: bool) -> Pattern:
        """What stands for one character, up to `end`."""
        source = self.pattern[self.at : end]
        if len(source) == 1 and source.isascii() and source != ".":
            # Without regard to case: otherwise `part` has it.
            self.at = end
            return single(One(f"(?i:{source})") if source.isalpha() else One("", source))
        try:
            members = points()[matched_by(source)]
        except ValueError as error:
            raise self.refuse(f"{source} ({error})") from error
        if not len(members):
            raise self.refuse(f"{source}, which is no single character,")
        if ignores_case and members[-1] >= 0x80:
            # It could match several characters for one, as ß stands for ss.
            raise self.refuse(f"{source} without regard to case")
        self.at = end
        return single(One(f"(?i:{source})" if ignores_case else source))

    def bracket_end(self) -> int:
        depth, at = 0, self.at
        while at < len(self.pattern):
            char = self.pattern[at]
            if posix := _POSIX.match(self.pattern, at):
                at = posix.end()
                continue
            if char == "\\":
                at += 1
            elif char == "[":
                if re.match(r"\[\^?\]", self.pattern[at:]):
                    raise self.refuse("an empty [] or one with ] first")
                depth += 1
            elif char == "]":
                depth -= 1
            at += 1
            if depth == 0:
                return at
        raise self.refuse("an unmatched [")

    def group(self, ignores_case: bool) -> Pattern:
        kinds = {"(?:": ignores_case, "(?i:": True, "(?-i:": False}
        kinds |= dict.fromkeys(("(?=", "(?!", "(?<="), ignores_case)
        opening = next((kind for kind in (*kinds, "(?>") if self.sees(kind)), "(")
        if opening == "(" and self.sees("(?"):
            raise self.refuse(self.pattern[self.at : self.at + 4])
        self.at += len(opening)
        inner = self.choice(ignores_case=kinds.get(opening, ignores_case))
        if not self.sees(")"):
            raise self.refuse("an unmatched (")
        self.at += 1
        if opening == "(?<=" and (inner.n_least != 1 or inner.is_repeat or len(inner.parts) > 1):
            # One character back, all three look alike.
            raise self.refuse("a lookbehind for more than one character")
        if opening in ("(?=", "(?!", "(?<="):
            return Pattern((opening, *inner.parts, ")"), 0, is_place=True)
        return Pattern(self.atomic(inner.parts), inner.n_least) if opening == "(?>" else inner

    def atomic(self, parts: Iterable[str | One]) -> tuple[str | One, ...]:
        """What it matched first stays. JavaScript lacks this; a lookahead, once left, does not match anew either."""
        self.n_atomic += 1
        return (f"(?=(?<atomic{self.n_atomic}>", *parts, f"))\\k<atomic{self.n_atomic}>")

    def repeated(self, part: Pattern) -> Pattern:
        """The part with the quantifiers behind it."""
        n_quantifiers = 0
        while self.at < len(self.pattern) and self.pattern[self.at] in "*+?{":
            if part.is_place:
                raise self.refuse("a repeated lookahead or \\A")
            if interval := _INTERVAL.match(self.pattern, self.at):
                low, comma, high = interval.groups()
                self.at = interval.end()
                least, most = int(low or 0), int(high or -1) if comma else int(low)
                how = "?" if self.sees("?") else ""
                if how and not comma:
                    raise self.refuse(f"{interval[0]}?")
            elif self.sees("{"):
                raise self.refuse("{")
            else:
                least, most = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}[self.pattern[self.at]]
                self.at += 1
                how = next((sign for sign in "?+" if self.sees(sign)), "")
            self.at += len(how)
            n_quantifiers += 1
            # {1,3}+ is not possessive to Oniguruma: it repeats what {1,3} matches.
            is_known = n_quantifiers == 1 or (n_quantifiers == 2 and self.pattern[self.at - 2 : self.at] == "}+")
            if not is_known or (part.is_repeat and how + part.how):
                raise self.refuse("a quantifier behind another")
            if part.n_least == 0 and most != 1:
                raise self.refuse("a repetition of what can match nothing")
            if 0 <= most < least:
                raise self.refuse(f"{{{least},{most}}}")
            bounds = f"{{{least},{'' if most < 0 else most}}}"
            parts: tuple[str | One, ...] = ("(?:", *part.parts, f"){bounds}{'' if how == '+' else how}")
            if how == "+":
                parts = self.atomic(parts)
            part = Pattern(parts, least * part.n_least, is_repeat=True, most=most, how=how)
        return part


def _letters(pattern: Pattern) -> set[str]:
    """The ASCII letters in the sets of a part, as lower case."""
    points_of = (points()[one.members()] for one in pattern.ones)
    return {chr(point).lower() for members in points_of for point in members[members < 0x80]}
