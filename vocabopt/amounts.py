"""Amounts: how a user writes numbers of tokens, bytes and sizes, and how tables, messages and pages show them."""

import re

from vocabopt.errors import OptionError

#: Decimal units, the largest first.
UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_MULTIPLES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_BYTE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def counted(n: int, noun: str) -> str:
    """A count with its noun in the right number: "1 file", "2,304 added tokens"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def shown_bytes(n_bytes: float) -> str:
    """Bytes in the largest unit that they fill, decimal units, one digit behind the point: "4.3 MB", "512 bytes"."""
    n = round(n_bytes)
    for factor, unit in UNITS:
        # What would round to 1,000.0 of the unit below is 1.0 of this one.
        if abs(n) >= factor - factor // 20_000:
            tenths = (abs(n) * 10 + factor // 2) // factor  # halves up: 4,250,000 is 4.3 MB
            return f"{'-' if n < 0 else ''}{tenths / 10:,.1f} {unit}"
    return counted(n, "byte")


def parse_window(value: str, option: str = "--window") -> tuple[int, int]:
    """`8000:40000` as two sizes. Raises OptionError."""
    match = re.fullmatch(r"(\d[\d_,]*)(?::|\.\.)(\d[\d_,]*)", value.strip())
    if match is None:
        raise OptionError(f"{option} {value}: write two sizes in added tokens as 8000:40000.")
    start, end = (int(re.sub(r"[_,]", "", part)) for part in match.groups())
    return start, end


def parse_tokens(value: str, option: str) -> int:
    """`10B`, `1.5T`, `500M` or a plain number, as tokens. Raises OptionError."""
    return _quantity(value, option, _MULTIPLES, "10B, 500M or 2000000")


def parse_bytes(value: str, option: str, examples: str = "80GB, 24GiB or 80000000000") -> int:
    """`80GB`, `24GiB` or a plain number of bytes. Raises OptionError, with examples that suit the option."""
    return _quantity(value, option, {"": 1, **_BYTE_UNITS}, examples)


def _quantity(value: str, option: str, units: dict[str, int], examples: str) -> int:
    match = re.fullmatch(r"(\d[\d_,]*(?:\.\d+)?)\s*([A-Za-z]*)", value.strip())
    unit = None if match is None else units.get(match[2].upper())
    number = 0.0 if match is None or unit is None else float(re.sub(r"[_,]", "", match[1])) * unit
    if not 1 <= number < 1e18:
        raise OptionError(f"{option} {value}: write a number of at least 1, such as {examples}.")
    return round(number)
