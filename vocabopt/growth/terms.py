"""Terms of a user's list (`--terms FILE`): how each is cut at every size shown, and at which it becomes one token.

A term is cut as running text has it: with nothing before it, and after a space. Both are encoded with the base, and
walked through the merges of the curve as an encoder does: the pair of lowest rank first, the leftmost among equals,
with the merges that a size has. So the cut is that of the merged tokenizer of each size, without making it.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocabopt.errors import OptionError
from vocabopt.failures import refusal
from vocabopt.growth.curve import Merges
from vocabopt.growth.floor import Floor
from vocabopt.records import Swept, Term, TermCut, TermsRecord, read_optional
from vocabopt.text.utf8 import read_bytes
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.pretokens import Pretokenizer

TERMS_JSON = "terms.json"
_SPACE = " "


def read_terms(path: Path, base: Tokenizer) -> tuple[str, ...]:
    """The terms in a file, one a line, without white space around them; blank lines and repeated terms left out.

    Raises:
        OptionError: the file cannot be read, is not UTF-8, holds no term, or one with an added token of the base.
    """
    terms: dict[str, None] = {}
    try:
        lines = read_bytes(path).split(b"\n")
    except OSError as error:
        raise OptionError(f"--terms {refusal(error, path, what='cannot be read')}") from error
    for number, line in enumerate(lines, start=1):
        try:
            term = line.decode().strip()
        except UnicodeDecodeError as error:
            raise OptionError(
                f"--terms {path}: line {number} is not UTF-8 ({error.reason}). Store it as UTF-8."
            ) from error
        if name := next((name for name in base.added_contents if name and name in term), None):
            raise OptionError(
                f"--terms {path}: line {number}, {term!r}, holds {name!r}, which the base takes out of text as one "
                "token. Leave it out."
            )
        if term:
            terms.setdefault(term)
    if not terms:
        raise OptionError(f"--terms {path}: holds no term. Write one a line.")
    return tuple(terms)


def terms_record(
    terms: Sequence[str],
    base: Tokenizer,
    grown: Tokenizer,
    merges: Merges,
    sizes: Sequence[int],
    curve_sha256: str,
    *,
    cross_spaces: bool = False,
) -> TermsRecord:
    """How terms are cut.

    Args:
        base: as it is, which size 0 is. grown: what the merges were learned with: the same, or its pattern widened.
        sizes: added tokens; those beyond the curve's end are left out. curve_sha256: of the curve.parquet that the
            merges are of. cross_spaces: tokens may hold a space after another character.
    """
    of_base, cutter = (
        _Cutter(base, Merges.none(base), cross_spaces=cross_spaces),
        _Cutter(grown, merges, cross_spaces=cross_spaces),
    )
    shown = [size for size in sizes if size <= merges.n_rows]

    def cut(text: str) -> TermCut:
        states = {size: (cutter if size else of_base).pieces(text, size) for size in shown}
        one_at: int | None = None
        if len(of_base.pieces(text, 0)) == 1:
            one_at = 0
        elif (row := cutter.row_of(text)) is not None and len(cutter.pieces(text, row)) == 1:
            one_at = row
        pieces = [tuple(piece.decode("utf-8", "backslashreplace") for piece in states[size]) for size in shown]
        return TermCut(n_chunks=cutter.n_chunks(text), one_token_at=one_at, pieces=tuple(pieces))

    cuts = tuple(Term(term=term, alone=cut(term), after_space=cut(_SPACE + term)) for term in terms)
    return TermsRecord(sizes=tuple(shown), terms=cuts, curve_sha256=curve_sha256)


def terms_of(run_dir: Path, sweep: Swept) -> TermsRecord | None:
    """terms.json of a finished sweep; None where no terms were given, or those there are of another curve.

    Raises:
        RunDirectoryError: it is broken.
    """
    found = read_optional(run_dir / TERMS_JSON, TermsRecord)
    return found if found is not None and found.curve_sha256 == sweep.curve_sha256 else None


class _Cutter:
    """Cuts short texts as the tokenizer of each size does, nothing put before them."""

    def __init__(self, base: Tokenizer, merges: Merges, *, cross_spaces: bool) -> None:
        self._base, self._texts = base, merges.texts(base)
        self._rules: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._chars: dict[bytes, tuple[int, int]] = {}
        for rank, (left, right, new, row) in enumerate(merges.by_rank.tolist()):
            if right:
                self._rules.setdefault((left, right), (rank, new, row))
            else:
                self._chars[self._texts[left]] = (new, row)
        self._rows: dict[bytes, int] = {}
        for _, _, new, row in merges.events.tolist():
            self._rows.setdefault(self._texts[new], row)
        self._floor = Floor.of(base, cross_spaces=cross_spaces)
        self._pretokenizer = Pretokenizer.of(base) if base.family == "byte-level-bpe" else None

    def pieces(self, text: str, size: int) -> list[bytes]:
        """The bytes of each token."""
        return [piece for ids in self._ids(text) for piece in self._walked(ids.tolist(), size)]

    def n_chunks(self, text: str) -> int:
        """Parts that no added token joins."""
        return sum(int(self._floor.parts(ids, np.array([len(ids)]))[0]) for ids in self._ids(text))

    def row_of(self, text: str) -> int | None:
        """The size at which the text's bytes become a token; None where they never do."""
        return self._rows.get(b"".join(self.pieces(text, 0)))

    def _ids(self, text: str) -> list[NDArray[np.int64]]:
        """The base's tokens of the parts that its merges never leave."""
        parts = [text] if self._pretokenizer is None else self._pretokenizer.cut(text)[0].to_list()
        encodings = self._base.chunk_tokenizer.encode_batch_fast(parts, add_special_tokens=False)
        return [np.array(encoding.ids, np.int64) for encoding in encodings]

    def _walked(self, ids: list[int], size: int) -> list[bytes]:
        symbols = self._symbols(ids, size)
        while True:
            found = [
                (rule[0], at, rule[1])
                for at, pair in enumerate(pairwise(symbols))
                if (rule := self._rules.get((pair[0][0], pair[1][0]))) is not None and rule[2] <= size
            ]
            if not found:
                return [text for _, text in symbols]
            _, at, new = min(found)
            symbols[at : at + 2] = [(new, symbols[at][1] + symbols[at + 1][1])]

    def _symbols(self, ids: list[int], size: int) -> list[tuple[int, bytes]]:
        """Symbols with their bytes: a token, or a character spelled in bytes where the size has a token for it."""
        symbols: list[tuple[int, bytes]] = []
        at = 0
        while at < len(ids):
            byte, n_units = self._base.byte_values[ids[at]], 1
            if byte >= 0:
                n_units += (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
                units = ids[at : at + n_units]
                text = bytes(self._base.byte_values[unit] for unit in units)
                new, row = self._chars.get(text, (0, size + 1))
                # Bytes that stay by themselves take part in no merge.
                symbols += [(new, text)] if row <= size else [(0, bytes([each])) for each in text]
            else:
                symbols.append((ids[at] + 1, self._texts[ids[at] + 1] or self._base.texts.get(ids[at], b"")))
            at += n_units
        return symbols
