r"""Split patterns of tokenizer.json (Oniguruma's regular expressions), written anew for JavaScript.

Nothing that knows Unicode is left to the browser. Each part of a pattern that stands for one character (`\p{L}`,
`[^\r\n]`, an `s` without regard to case) becomes a set of classes, as `tokenizers` itself says (playground_points); the
text is turned into its classes, one symbol a character, and JavaScript matches symbols. What is left is order:
alternatives, repetition and lookahead, which both take from left to right, backtracking. A part whose meaning could
differ is refused.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocabopt.errors import PlaygroundError
from vocabopt.report.playground_points import matched_by, points

#: Two ASCII letters that one character stands for when case does not count: ss (ß), ff, fi, fl, st.
_FOLDED_PAIRS = frozenset({"ss", "ff", "fi", "fl", "st"})
_ESCAPE = re.compile(
    r"\\(?:[pP]\{\^?[\w ]+\}|[sSdDwWhH]|x\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[rntfvae]|[^\w\s])"
)
_INTERVAL = re.compile(r"\{(?=,?\d)(\d*)(,?)(\d*)\}")
_POSIX = re.compile(r"\[:\^?\w+:\]")
#: Symbols of classes are letters without a meaning of their own in regular expressions.
FIRST_SYMBOL = 0x100


class Node:
    """A part of a pattern. n_least: how many characters it matches at least."""

    n_least = 0


@dataclass(frozen=True)
class One(Node):
    """One character of a set. source: what Oniguruma is asked; empty for one character as it is."""

    source: str
    character: str = ""
    n_least = 1

    def members(self) -> NDArray[np.bool_]:
        return points() == ord(self.character) if self.character else matched_by(self.source)


@dataclass(frozen=True)
class Row(Node):
    parts: tuple[Node, ...]

    @property
    def n_least(self) -> int:  # type: ignore[override]
        return sum(part.n_least for part in self.parts)


@dataclass(frozen=True)
class Choice(Node):
    parts: tuple[Node, ...]

    @property
    def n_least(self) -> int:  # type: ignore[override]
        return min(part.n_least for part in self.parts)


@dataclass(frozen=True)
class Repeat(Node):
    """most: -1 for no bound. how: "" greedy, "?" lazy, "+" possessive."""

    part: Node
    least: int
    most: int
    how: str

    @property
    def n_least(self) -> int:  # type: ignore[override]
        return self.least * self.part.n_least


@dataclass(frozen=True)
class Around(Node):
    """(?=...), (?!...): no character of its own."""

    part: Node
    is_negative: bool


@dataclass(frozen=True)
class Atomic(Node):
    """(?>...): what it matched first stays."""

    part: Node

    @property
    def n_least(self) -> int:  # type: ignore[override]
        return self.part.n_least


@dataclass(frozen=True)
class Start(Node):
    r"""\A: before the first character of the piece."""


_LINE_END = Around(One("[^\\n]"), True)
_END = Around(One("[\\s\\S]"), True)


def parse(pattern: str) -> Node:
    """Read a pattern.

    Raises:
        PlaygroundError: it holds something that JavaScript could take in another way.
    """
    parser = _Parser(pattern)
    node = parser.choice(ignores_case=False)
    if parser.at < len(pattern):
        raise parser.refuse("an unmatched )")
    if node.n_least == 0:
        raise parser.refuse("a match of nothing")
    return node


def literal(text: str) -> Node:
    """A pattern that is the text itself."""
    return Row(tuple(One("", char) for char in text))


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0

    def refuse(self, what: str) -> PlaygroundError:
        return PlaygroundError(
            f"The split pattern {self.pattern!r} holds {what} at character {self.at}, which the page cannot repeat "
            "exactly."
        )

    def sees(self, text: str) -> bool:
        return self.pattern.startswith(text, self.at)

    def choice(self, *, ignores_case: bool) -> Node:
        rows = [self.row(ignores_case)]
        while self.sees("|"):
            self.at += 1
            rows.append(self.row(ignores_case))
        return rows[0] if len(rows) == 1 else Choice(tuple(rows))

    def row(self, ignores_case: bool) -> Node:
        parts: list[Node] = []
        while self.at < len(self.pattern) and not self.sees("|") and not self.sees(")"):
            parts.append(self.repeated(self.part(ignores_case)))
            if ignores_case:
                self.check_folds(parts)
        return parts[0] if len(parts) == 1 else Row(tuple(parts))

    def check_folds(self, parts: Sequence[Node]) -> None:
        """Refuse a last part that without regard to case could be one character together with its neighbour."""
        last, before = _letters(parts[-1]), _letters(parts[-2]) if len(parts) > 1 else set()
        if isinstance(parts[-1], Repeat) and parts[-1].most != 1:
            before = before | last
        if pairs := sorted({left + right for left in before for right in last} & _FOLDED_PAIRS):
            raise self.refuse(f"{pairs[0]} without regard to case")

    def part(self, ignores_case: bool) -> Node:
        if self.sees("("):
            return self.group(ignores_case)
        if self.sees("$"):
            self.at += 1
            return _LINE_END
        if self.sees("\\A") or self.sees("\\z"):
            self.at += 2
            return Start() if self.pattern[self.at - 1] == "A" else _END
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
        return One("", char)

    def one(self, end: int, ignores_case: bool) -> One:
        """What stands for one character, up to `end`."""
        source = self.pattern[self.at : end]
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
        return One(f"(?i:{source})" if ignores_case else source)

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

    def group(self, ignores_case: bool) -> Node:
        kinds = {"(?:": ignores_case, "(?i:": True, "(?-i:": False, "(?=": ignores_case, "(?!": ignores_case}
        opening = next((kind for kind in (*kinds, "(?>") if self.sees(kind)), "(")
        if opening == "(" and self.sees("(?"):
            raise self.refuse(self.pattern[self.at : self.at + 4])
        self.at += len(opening)
        node = self.choice(ignores_case=kinds.get(opening, ignores_case))
        if not self.sees(")"):
            raise self.refuse("an unmatched (")
        self.at += 1
        if opening in ("(?=", "(?!"):
            return Around(node, opening == "(?!")
        return Atomic(node) if opening == "(?>" else node

    def repeated(self, node: Node) -> Node:
        """The node with the quantifiers behind it."""
        n_quantifiers = 0
        while self.at < len(self.pattern) and self.pattern[self.at] in "*+?{":
            if isinstance(node, Around | Start):
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
            if not is_known or (isinstance(node, Repeat) and how + node.how):
                raise self.refuse("a quantifier behind another")
            if node.n_least == 0 and most != 1:
                raise self.refuse("a repetition of what can match nothing")
            if 0 <= most < least:
                raise self.refuse(f"{{{least},{most}}}")
            node = Repeat(node, least, most, how)
        return node


def _letters(node: Node) -> set[str]:
    """The ASCII letters in the sets of a part, as lower case."""
    points_of = (points()[one.members()] for one in parts_for_one(node))
    return {chr(point).lower() for members in points_of for point in members[members < 0x80]}


def parts_for_one(node: Node) -> list[One]:
    """The parts of a pattern that stand for one character."""
    if isinstance(node, One):
        return [node]
    if isinstance(node, Start):
        return []
    inner: Sequence[Node] = getattr(node, "parts", ()) or (node.part,)  # type: ignore[attr-defined]
    return [one for part in inner for one in parts_for_one(part)]


def in_javascript(node: Node, classes_of: Callable[[One], list[int]]) -> str:
    """The pattern over symbols of classes. classes_of: those of which a part for one character is made."""
    n_captured = 0

    def written(node: Node) -> str:
        nonlocal n_captured
        if isinstance(node, One):
            symbols = "".join(chr(FIRST_SYMBOL + number) for number in classes_of(node))
            return symbols if len(symbols) == 1 else f"[{symbols}]"
        if isinstance(node, Start):
            return "^"
        if isinstance(node, Row):
            return "".join(written(part) for part in node.parts)
        if isinstance(node, Choice):
            return f"(?:{'|'.join(written(part) for part in node.parts)})"
        if isinstance(node, Around):
            return f"(?{'!' if node.is_negative else '='}{written(node.part)})"
        if isinstance(node, Repeat) and node.how != "+":
            most = "" if node.most < 0 else node.most
            return f"(?:{written(node.part)}){{{node.least},{most}}}{node.how}"
        # JavaScript lacks possessive and atomic parts; a lookahead, once left, does not match anew either.
        n_captured += 1
        number = n_captured
        inner = Repeat(node.part, node.least, node.most, "") if isinstance(node, Repeat) else node.part  # type: ignore[attr-defined]
        return f"(?=({written(inner)}))\\{number}"

    return written(node)
