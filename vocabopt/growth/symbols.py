"""The symbols of the growth pass: base tokens, characters spelled in bytes, and what the guard says of each."""

import contextlib
import re

import numpy as np
from numpy.typing import NDArray

from vocabopt.compiled import njit
from vocabopt.growth import kernel as kernel
from vocabopt.text.scripts import byte_guard, contains_target, piece_is_guarded
from vocabopt.tokenizer import Tokenizer


class Symbols:
    """The kernel's table of symbols: base tokens, then closed characters, then room for new ones."""

    def __init__(
        self,
        base: Tokenizer,
        closed: NDArray[np.int32],
        scripts: tuple[str, ...],
        *,
        n_new: int,
        cross_spaces: bool = False,
    ) -> None:
        closed_texts = [chr(code_point).encode() for code_point in closed]
        pieces = [b"" if index in base.frozen_ids else piece for index, piece in enumerate(base.pieces)]
        texts = [b"", *pieces, *closed_texts]
        self.texts = texts
        self.n_symbols = len(texts)
        self.first_closed = base.n_tokens + 1
        ends = np.cumsum([len(text) for text in texts])
        self.text = np.zeros(int(ends[-1]) + 1024, np.uint8)
        self.text[: ends[-1]] = np.frombuffer(b"".join(texts), np.uint8)
        self.n_text = int(ends[-1])
        table = np.zeros((self.n_symbols + n_new + 1, kernel.N_SYMBOL_COLUMNS), np.int64)
        table[: self.n_symbols, kernel.TEXT_END] = ends
        table[1 : self.n_symbols, kernel.TEXT_START] = ends[:-1]
        table[:, kernel.USED_AT] = -1
        # Tokens without text of their own (special tokens, byte pieces), and frozen ones, take part in nothing.
        self.is_open = np.zeros(len(table), bool)
        self.is_open[: self.first_closed] = [bool(text) for text in texts[: self.first_closed]]
        table[self.first_closed : self.n_symbols, kernel.EXTRA] = [len(text) - 1 for text in closed_texts]
        self.guard = _guard_arrays(base, scripts)
        self._mark(table, base, scripts)
        if crossings_of(base, cross_spaces=cross_spaces).any():
            table[: self.n_symbols, kernel.CROSSING] = [_crossing(base, text) for text in texts]
        _fill_hashes(table, self.text, self.n_symbols)
        self.table = table

    def _mark(self, table: NDArray[np.int64], base: Tokenizer, scripts: tuple[str, ...]) -> None:
        """OK, INSIDE and TAIL of the symbols there are."""
        for symbol, text in enumerate(self.texts):
            if not text:
                continue
            if base.family == "sentencepiece-bpe":
                table[symbol, kernel.OK] = not scripts or contains_target(text.decode(), scripts)
                continue
            table[symbol, kernel.INSIDE] = 0x80 <= text[0] < 0xC0
            if not scripts:
                table[symbol, kernel.OK] = 1
                continue
            # What a piece shows does not depend on the continuation bytes it may begin with.
            own = text.lstrip(bytes(range(0x80, 0xC0)))
            guard = byte_guard(scripts)
            table[symbol, kernel.OK] = piece_is_guarded(own, guard)
            state = 0
            for byte in own:
                state = int(guard.next_state[state, byte])
            table[symbol, kernel.TAIL] = state

    def allows(self, base: Tokenizer, text: bytes, scripts: tuple[str, ...]) -> bool:
        """Whether the guard would let `text` be a piece."""
        if not scripts:
            return True
        if base.family == "sentencepiece-bpe":
            return contains_target(text.decode(), scripts)
        return piece_is_guarded(text, byte_guard(scripts))

    def reserved(self, base: Tokenizer, scripts: tuple[str, ...]) -> NDArray[np.int64]:
        """Spellings that no new piece may take: [n, 2] of hash and the symbol that stands for it already (0: none).

        A piece that the base's own merges reach is never spelled by two neighbours: wherever its bytes stand between
        token boundaries they are that piece already. So only special tokens, byte pieces and pieces without a way
        to them are listed. The last can be opened: once a new piece makes a way, SentencePiece would take it.
        """
        vocab = base.tokenizer_json["model"]["vocab"]
        spelled: dict[bytes, int] = {}
        for content in base.added_contents:
            spelled[content.encode()] = 0
            with contextlib.suppress(KeyError):  # not every content can be a spelling of the byte-level alphabet
                spelled[base.piece_bytes(content)] = 0
        candidates = {}
        for piece, index in vocab.items():
            if not base.pieces[index] or index in base.frozen_ids:
                spelled[piece.encode()] = 0
            elif self.allows(base, base.pieces[index], scripts):
                candidates[piece] = index
        encoder = base.merging_tokenizer
        for piece, encoding in zip(candidates, encoder.encode_batch_fast(list(candidates)), strict=True):
            index = candidates[piece]
            if encoding.ids != [index]:
                spelled[base.pieces[index]] = index + 1
        kept = {text: symbol for text, symbol in spelled.items() if self._allows_any(base, text, scripts)}
        rows = np.zeros((len(kept), 2), np.int64)
        for row, (text, symbol) in enumerate(kept.items()):
            rows[row] = _hash_of(np.frombuffer(text, np.uint8)), symbol
        return rows[np.argsort(rows[:, 0], kind="stable")]

    def _allows_any(self, base: Tokenizer, text: bytes, scripts: tuple[str, ...]) -> bool:
        return bool(text) and self.allows(base, text, scripts)


#: What a symbol begins or ends with, for the kernel's CROSSING: text, a space, a newline, other white space of ASCII.
_TEXT, _SPACE, _NEWLINE, _OTHER_WHITE = 0, 1, 2, 3
_KIND_OF_BYTE = {ord(" "): _SPACE, ord("\n"): _NEWLINE} | dict.fromkeys(b"\t\x0b\x0c\r", _OTHER_WHITE)


def crossings_of(base: Tokenizer, *, cross_spaces: bool) -> NDArray[np.bool_]:
    """Which ends no new piece may join, bool [4, 4]: those between which text is cut into chunks (documents.py).

    A piece that crosses such a place could only be learned where a piece of the base keeps the text together, and would
    apply where it is cut as well.
    """
    crossings = np.zeros((4, 4), bool)
    if cross_spaces:
        return crossings
    if base.family == "byte-level-bpe":
        # The base's own pattern cuts; a space after text is what it may leave where it is unknown.
        crossings[_TEXT, _SPACE] = True
        return crossings
    crossings[[_TEXT, _NEWLINE, _OTHER_WHITE], _SPACE] = True
    crossings[[_TEXT, _SPACE, _OTHER_WHITE], _NEWLINE] = True
    crossings[_NEWLINE, [_TEXT, _OTHER_WHITE]] = True
    return crossings


def _crossing(base: Tokenizer, text: bytes) -> int:
    """CROSSING of a symbol there is: its ends, and whether it crosses by itself."""
    if not text:
        return 0
    kinds = [_KIND_OF_BYTE.get(byte, _TEXT) for byte in (text[0], text[-1])]
    crosses = re.search(rb"[^\s] " if base.family == "byte-level-bpe" else rb"[^ ] |[^\n]\n|\n[^\n]", text)
    return kinds[0] | kinds[1] << kernel.CROSSING_LAST_SHIFT | (kernel.CROSSING_INSIDE if crosses else 0)


def _guard_arrays(base: Tokenizer, scripts: tuple[str, ...]) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """The byte guard's tables; one state that accepts nothing where bytes are not what is guarded."""
    if base.family == "sentencepiece-bpe" or not scripts:
        return np.zeros((1, 256), np.int16), np.zeros((1, 256), bool)
    guard = byte_guard(scripts)
    return guard.next_state.copy(), guard.accepts.copy()


@njit(cache=True)
def _hash_of(text):  # type: ignore[no-untyped-def]
    h = np.int64(0)
    for byte in text:
        h = h * kernel.HASH_BASE + byte + 1
    return h


@njit(cache=True)
def _fill_hashes(symbols, text, n_symbols):  # type: ignore[no-untyped-def]
    for symbol in range(n_symbols):
        start, end = symbols[symbol, kernel.TEXT_START], symbols[symbol, kernel.TEXT_END]
        symbols[symbol, kernel.HASH] = _hash_of(text[start:end])
        power = np.int64(1)
        for _ in range(start, end):
            power *= kernel.HASH_BASE
        symbols[symbol, kernel.POWER] = power
