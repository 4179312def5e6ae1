"""What the tests of verification share: two tokenizers verified, and checks that must have failed."""

from collections.abc import Callable
from typing import Any

from helpers import train_byte_level

from vocabopt.console import Console
from vocabopt.tokenizer import load_tokenizer
from vocabopt.tokenizer.families import byte_of_char
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.verification import Check, Report, VerifyOptions, verify
from vocabopt.verification.checks import N_EXAMPLES
from vocabopt.verification.pair import Pair, make_pair
from vocabopt.verification.text import plain_lines

Json = dict[str, Any]
N_ADDED = 300
BUILT_IN = (*hard_strings(), *plain_lines())


def verified(base: object, new: object, **options: Any) -> Report:
    return verify(str(base), str(new), VerifyOptions(**options), Console(quiet=True))


def pair_of(base: object, new: object, scripts: str = "auto") -> Pair:
    """The two loaded, for one check alone."""
    return make_pair(load_tokenizer(str(base)), load_tokenizer(str(new)), scripts)


def failed(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.status == "fail"}


def add_token(value: Json, piece: str) -> None:
    """Give a tokenizer.json one more token, without a merge."""
    vocab = value["model"]["vocab"]
    assert piece not in vocab
    vocab[piece] = max(*vocab.values(), *(token["id"] for token in value["added_tokens"])) + 1


def found(report: Report, name: str) -> Check:
    """A check, which failed with examples of what is wrong."""
    check = report.check(name)
    assert check.status == "fail"
    assert 1 <= len(check.examples) <= N_EXAMPLES
    assert all(example.what and example.base and example.new for example in check.examples)
    return check


def small_ranks(lines: list[str]) -> dict[bytes, int]:
    """Ranks as a rank file has them: the bytes, then what was merged of them in order."""
    vocab = train_byte_level(lines, 600)["model"]["vocab"]
    table = byte_of_char()
    pieces = sorted(
        (piece for piece in vocab if piece != "<|endoftext|>"), key=lambda piece: (len(piece) > 1, vocab[piece])
    )
    return {bytes(table[char] for char in piece): rank for rank, piece in enumerate(pieces)}


def add_merge(left: str, right: str, place: int | None) -> Callable[[Json], None]:
    """Add a token made of two others, its merge at `place` or after all others."""

    def change(value: Json) -> None:
        add_token(value, left + right)
        merges = value["model"]["merges"]
        merges.insert(len(merges) if place is None else place, [left, right])

    return change
