"""The growth pass in plain Python: slow, and short enough to be read. The compiled pass (kernel.py) must equal it.

Text is a list of chunks, each a row of symbols. One row of the embedding is added at a time: the neighbouring pair, or
the character spelled in bytes, that saves most tokens of the training text. Ties go to the smaller bytes. After every
addition all candidates are counted again. The tests compare both passes after every row, on random text.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log2

from vocabopt.text.scripts import byte_guard, contains_target, piece_is_guarded
from vocabopt.text.sets import TRAIN
from vocabopt.tokenizer import Tokenizer

Pair = tuple[bytes, bytes]


class Closed(bytes):
    """A character that the base spells in byte pieces; equal to no other bytes."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Closed) and bytes.__eq__(self, other)

    def __hash__(self) -> int:
        return hash((Closed, bytes(self)))


@dataclass
class Chunk:
    """symbols: as the tokens added so far leave them. n_of_set: how often the chunk stands in each text set."""

    symbols: list[bytes]
    n_of_set: Counter[str] = field(default_factory=Counter)


def cut(base: Tokenizer, text: str) -> tuple[list[tuple[bytes, ...]], int]:
    """The chunks of a document as symbols, and how many added tokens stand between them."""
    encoding = base.full.encode(text, add_special_tokens=False)
    chunks: list[list[bytes]] = [[]]
    pending, before, n_added = b"", None, 0
    for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
        if token in base.added:
            n_added += 1
            chunks.append([])
            continue
        if base.family == "byte-level-bpe":
            if word != before:
                chunks.append([])
            chunks[-1].append(base.pieces[token])
            before = word
            continue
        symbol: bytes = base.pieces[token]
        if base.byte_values[token] >= 0:
            pending += bytes([base.byte_values[token]])
            try:
                pending.decode()
            except UnicodeDecodeError:
                continue
            symbol, pending = Closed(pending), b""
        last = chunks[-1][-1] if chunks[-1] else b""
        if b"\n" in (bytes(symbol), bytes(last)) or (symbol[:1] == b" " and last[-1:] not in (b"", b" ")):
            chunks.append([])
        chunks[-1].append(symbol)
    return [tuple(chunk) for chunk in chunks if chunk], n_added


def occurrences(symbols: Sequence[bytes]) -> Counter[Pair]:
    """How often each pair would be merged in a row of symbols, leftmost first; (c, b"") for a closed character."""
    counts: Counter[Pair] = Counter()
    free_from = 0
    for i, left in enumerate(symbols):
        right = symbols[i + 1] if i + 1 < len(symbols) else b""
        if isinstance(left, Closed):
            counts[left, b""] += 1
        elif right and not isinstance(right, Closed) and (left != right or i >= free_from):
            counts[left, right] += 1
            free_from = i + 2 if left == right else 0
    return counts


class ReferenceGrowth:
    """Growth, one row at a time.

    rows: the rows added, as (piece, tokens saved).
    opened: per row, the base's own pieces that it made reachable.
    blocked: pieces that would have been a row but for the protected text.
    """

    def __init__(
        self,
        base: Tokenizer,
        documents: Mapping[str, Sequence[str]],
        *,
        protected: Sequence[str] = (),
        scripts: tuple[str, ...],
    ) -> None:
        self.base, self.scripts = base, scripts
        self.n_added_tokens: Counter[str] = Counter()
        chunks: dict[tuple[bytes, ...], Chunk] = {}
        for name, texts in documents.items():
            for text in texts:
                cuts, n_added = cut(base, text)
                self.n_added_tokens[name] += n_added
                for symbols in cuts:
                    chunks.setdefault(symbols, Chunk(list(symbols))).n_of_set[name] += 1
        self.chunks = list(chunks.values())
        self.protected = [
            chunk
            for chunk in self.chunks
            if any(chunk.n_of_set[name] for name in protected)
            and not (scripts and contains_target(b"".join(chunk.symbols).decode(), scripts))
        ]
        self.of_base = {piece for piece in base.pieces if piece}
        self.taken = self.of_base | {text.encode() for text in base.added_contents}
        self.rows: list[tuple[bytes, int]] = []
        self.opened: list[list[bytes]] = []
        self.grown: set[bytes] = set()
        self.blocked: set[bytes] = set()

    def allows(self, piece: bytes) -> bool:
        if self.base.family == "byte-level-bpe":
            starts_inside = 0x80 <= piece[0] < 0xC0
            return not starts_inside and (not self.scripts or piece_is_guarded(piece, byte_guard(self.scripts)))
        return not self.scripts or contains_target(piece.decode(), self.scripts)

    def candidates(self) -> dict[bytes, tuple[int, Pair]]:
        """Piece -> tokens of the training text saved, and its parts."""
        found: dict[bytes, tuple[int, Pair]] = {}
        for chunk in self.chunks:
            for pair, n in occurrences(chunk.symbols).items():
                piece = b"".join(pair)
                saving, parts = found.get(piece, (0, pair))
                assert parts == pair, "a string has one split at any time"
                each = 1 if pair[1] else len(pair[0]) - 1
                found[piece] = (saving + each * n * chunk.n_of_set[TRAIN], pair)
        return {piece: candidate for piece, candidate in found.items() if self.allows(piece)}

    def changes_protected(self, pair: Pair) -> bool:
        return any(pair in occurrences(chunk.symbols) for chunk in self.protected)

    def step(self, min_saving: int = 2) -> bool:
        """Add the best row and open what it opens; False when nothing saves enough."""
        candidates = {piece: found for piece, found in self.candidates().items() if piece not in self.taken}
        for piece in sorted(candidates, key=lambda piece: (-candidates[piece][0], piece)):
            saving, pair = candidates[piece]
            if saving < min_saving:
                return False
            if self.changes_protected(pair):
                self.blocked.add(piece)
                continue
            self.rows.append((piece, saving))
            self.opened.append([])
            self.taken.add(piece)
            self._apply(piece, pair)
            self._open_base_pieces()
            return True
        return False

    def _open_base_pieces(self) -> None:
        """Merge pairs that hold a grown symbol and spell a piece of the base, by their bytes, until none is left."""
        while True:
            ways = {
                piece: pair
                for piece, (_, pair) in self.candidates().items()
                if pair[1] and piece in self.of_base and self.grown.intersection(pair)
            }
            ways = {piece: pair for piece, pair in ways.items() if not self.changes_protected(pair)}
            if not ways:
                return
            piece = min(ways)
            self.opened[-1].append(piece)
            self._apply(piece, ways[piece])

    def _apply(self, piece: bytes, pair: Pair) -> None:
        self.grown.add(piece)
        for chunk in self.chunks:
            old, chunk.symbols = chunk.symbols, []
            while old:
                if old[:2] == list(pair) or (not pair[1] and old[0] == pair[0]):
                    del old[: 2 if pair[1] else 1]
                    chunk.symbols.append(piece)
                else:
                    chunk.symbols.append(old.pop(0))

    def uses(self, name: str) -> Counter[tuple[bool, bytes]]:
        """How often each token stands in the text of a set; (True, byte) is a byte piece of a closed character."""
        counts: Counter[tuple[bool, bytes]] = Counter()
        for chunk in self.chunks:
            for symbol in chunk.symbols if chunk.n_of_set[name] else ():
                closed = isinstance(symbol, Closed)
                for token in [bytes([byte]) for byte in symbol] if closed else [symbol]:
                    counts[closed, token] += chunk.n_of_set[name]
        return counts

    def n_tokens(self, name: str) -> int:
        return sum(self.uses(name).values()) + self.n_added_tokens[name]

    def n_used(self, name: str) -> int:
        uses = self.uses(name)
        return sum((False, piece) in uses for piece, _ in self.rows)

    def entropy_bits(self, name: str) -> float | None:
        counts = self.uses(name).values()
        total = sum(counts)
        return -sum(n / total * log2(n / total) for n in counts) if total else None
