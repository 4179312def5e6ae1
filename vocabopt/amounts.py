"""Amounts in words, of bytes and of things, the same in progress, tables, messages, figures and pages."""

#: Decimal units, the largest first.
UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


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
