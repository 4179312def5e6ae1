"""The growth pass in plain Python: slow, and short enough to be read. The compiled pass (kernel.py) must equal it.

Text is a list of chunks, each a row of symbols: pieces of the base as bytes, and characters that the base spells in
byte pieces as a tuple of these. One row of the embedding is added at a time: the two neighbours, or the spelled
character, that save most tokens of the training text. Ties go to the smaller bytes. After every addition all is counted
again. With several targets it is the weighted sum of their savings that counts, or, for parity, the savings of the one
that is served worst.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import log2

from vocabopt.text.scripts import byte_guard, contains_target, piece_is_guarded
from vocabopt.text.sets import TRAIN
from vocabopt.tokenizer import Tokenizer

Symbol = bytes | tuple[bytes, ...]
#: What becomes one symbol: two pieces, or one spelled character.
Parts = tuple[Symbol, ...]


def bytes_of(parts: Sequence[Symbol]) -> bytes:
    return b"".join(part if isinstance(part, bytes) else b"".join(part) for part in parts)


def cut(base: Tokenizer, text: str) -> tuple[list[Parts], int]:
    """The chunks of a document as symbols, and how many added tokens stand between them."""
    encoding = base.full.encode(text, add_special_tokens=False)
    chunks: list[list[Symbol]] = [[]]
    pending, before, n_added = b"", None, 0
    for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
        symbol: Symbol = base.pieces[token]
        if token in base.added:
            n_added += 1
            chunks.append([])
            continue
        if base.family == "byte-level-bpe":
            is_cut, before = word != before, word
        else:
            if base.byte_values[token] >= 0:
                pending += bytes([base.byte_values[token]])
                try:
                    pending.decode()
                except UnicodeDecodeError:
                    continue
                symbol, pending = tuple(bytes([byte]) for byte in pending), b""
            text_of_it, last = bytes_of([symbol]), bytes_of(chunks[-1][-1:])
            is_cut = b"\n" in (text_of_it, last) or (text_of_it[:1] == b" " and last[-1:] not in (b"", b" "))
        if is_cut:
            chunks.append([])
        chunks[-1].append(symbol)
    return [tuple(chunk) for chunk in chunks if chunk], n_added


def occurrences(symbols: Sequence[Symbol]) -> Iterator[tuple[int, Parts]]:
    """What might become one symbol in a row of symbols, and where, leftmost first: aaa holds one pair of a and a."""
    free_from = 0
    for i, left in enumerate(symbols):
        if isinstance(left, tuple):
            yield i, (left,)
        elif i + 1 < len(symbols) and isinstance(right := symbols[i + 1], bytes) and (left != right or i >= free_from):
            yield i, (left, right)
            free_from = i + 2 if left == right else 0


class ReferenceGrowth:
    """Growth, one row at a time.

    rows: the rows added, as (piece, tokens saved of the first set). opened: per row, the base's own pieces that it made
    reachable. blocked: pieces that would have been a row but for the protected text.
    """

    def __init__(
        self,
        base: Tokenizer,
        documents: Mapping[str, Sequence[str]],
        *,
        protected: Sequence[str] = (),
        scripts: tuple[str, ...],
        targets: Sequence[str] = (TRAIN,),
        weights: Sequence[int] = (),
        measured: Mapping[str, str] | None = None,
        reference: str | None = None,
    ) -> None:
        """Args:
        targets, weights: the sets learned from; without weights of several each row is of the one served worst.
        measured: target -> the set that tells how it is served. reference: the set to divide by, not by their own.
        """
        self.base, self.scripts = base, scripts
        self.targets, self.weights, self.measured = targets, weights, measured or {name: name for name in targets}
        self.n_added_tokens: Counter[str] = Counter()
        n_of_sets: dict[Parts, Counter[str]] = {}
        for name, texts in documents.items():
            for text in texts:
                chunks, n_added = cut(base, text)
                self.n_added_tokens[name] += n_added
                for symbols in chunks:
                    n_of_sets.setdefault(symbols, Counter())[name] += 1
        #: Each chunk as the tokens added so far leave it, and how often it stands in each text set.
        self.chunks: list[tuple[list[Symbol], Counter[str]]] = [(list(chunk), n) for chunk, n in n_of_sets.items()]
        self.protected = [
            symbols
            for symbols, n_of_set in self.chunks
            if any(n_of_set[name] for name in protected)
            and not (scripts and contains_target(bytes_of(symbols).decode(), scripts))
        ]
        self.of_base = set(filter(None, base.pieces))
        self.taken = self.of_base | {text.encode() for text in base.added_contents}
        self.rows: list[tuple[bytes, int]] = []
        self.opened: list[list[bytes]] = []
        self.grown: set[Symbol] = set()
        self.blocked: set[bytes] = set()
        self.first_set = TRAIN if TRAIN in documents else next(iter(documents))
        divided_by = {name: reference or self.measured[name] for name in targets}
        self.divided_by = {name: max(1, self.uses(other).total()) for name, other in divided_by.items()}

    def allows(self, piece: bytes) -> bool:
        if self.base.family == "byte-level-bpe":
            starts_inside = 0x80 <= piece[0] < 0xC0
            return not starts_inside and (not self.scripts or piece_is_guarded(piece, byte_guard(self.scripts)))
        return not self.scripts or contains_target(piece.decode(), self.scripts)

    def candidates(self) -> dict[bytes, tuple[Counter[str], Parts]]:
        """Piece -> tokens of each text set saved, and its parts."""
        found: dict[bytes, tuple[Counter[str], Parts]] = {}
        for symbols, n_of_set in self.chunks:
            for _, parts in occurrences(symbols):
                savings, others = found.setdefault(piece := bytes_of(parts), (Counter(), parts))
                assert parts == others, "a string has one split at any time"
                each = len(parts) - 1 or len(piece) - 1
                savings.update({name: each * n for name, n in n_of_set.items()})
        return {piece: candidate for piece, candidate in found.items() if self.allows(piece)}

    def turns(self) -> list[dict[str, Fraction]]:
        """What each target's savings count, for the next row; where no token saves enough so, the next of these."""
        if self.weights:
            mean = Fraction(sum(self.weights), len(self.weights))
            return [{name: weight / mean for name, weight in zip(self.targets, self.weights, strict=True)}]
        ratios = {name: self.uses(self.measured[name]).total() / self.divided_by[name] for name in self.targets}
        return [{name: Fraction(1)} for name in sorted(self.targets, key=lambda name: -ratios[name])]

    def changes_protected(self, wanted: Parts) -> bool:
        return any(parts == wanted for symbols in self.protected for _, parts in occurrences(symbols))

    def step(self, min_saving: int = 2) -> bool:
        """Add the best row and open what it opens; False when nothing saves enough."""
        candidates = {piece: found for piece, found in self.candidates().items() if piece not in self.taken}
        for counted in self.turns():
            savings = {
                piece: sum(saved[name] * each for name, each in counted.items())
                for piece, (saved, _) in candidates.items()
            }
            for saving, piece in sorted((-saving, piece) for piece, saving in savings.items()):
                saved, parts = candidates[piece]
                if -saving < min_saving:
                    break
                if self.changes_protected(parts):
                    self.blocked.add(piece)
                    continue
                self.add(piece, parts, saved[self.first_set])
                return True
        return False

    def add(self, piece: bytes, parts: Parts, saving: int) -> None:
        self.rows.append((piece, saving))
        self.opened.append([])
        self.taken.add(piece)
        self.apply(piece, parts)
        # Grown symbols and their neighbours that spell a piece of the base become it, by their bytes.
        while ways := {
            piece: parts
            for piece, (_, parts) in self.candidates().items()
            if len(parts) == 2 and piece in self.of_base and self.grown.intersection(parts)
            if not self.changes_protected(parts)
        }:
            self.opened[-1].append(min(ways))
            self.apply(min(ways), ways[min(ways)])

    def apply(self, piece: bytes, wanted: Parts) -> None:
        self.grown.add(piece)
        for symbols, _ in self.chunks:
            for i, parts in reversed([*occurrences(symbols)]):
                if parts == wanted:
                    symbols[i : i + len(parts)] = [piece]

    def uses(self, name: str) -> Counter[tuple[bool, bytes]]:
        """How often each token stands in the text of a set; (True, byte) is a byte piece of a spelled character."""
        counts: Counter[tuple[bool, bytes]] = Counter()
        for symbols, n_of_set in self.chunks:
            for symbol in symbols if n_of_set[name] else ():
                for token in symbol if isinstance(symbol, tuple) else [symbol]:
                    counts[isinstance(symbol, tuple), token] += n_of_set[name]
        return counts

    def n_tokens(self, name: str) -> int:
        return self.uses(name).total() + self.n_added_tokens[name]

    def n_used(self, name: str) -> int:
        uses = self.uses(name)
        return sum((False, piece) in uses for piece, _ in self.rows)

    def entropy_bits(self, name: str) -> float | None:
        counts = self.uses(name)
        return -sum(n / counts.total() * log2(n / counts.total()) for n in counts.values()) if counts else None
