"""From values to words: numbers that never round into "0" or "100 %", and text that shows what it hides.

Undefined (None or not finite) is a dash. Names and pieces come from corpora and file names: `visible` escapes them,
shows control and direction characters as U+XXXX and isolates the rest in <bdi>, so that no text moves its neighbours.
"""

import math
import unicodedata
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from markupsafe import Markup, escape

from vocabopt.amounts import shown_bytes
from vocabopt.text.scripts import dominant_script

DASH = "\u2013"
MINUS = "\u2212"
NAME_LIMIT = 400
PIECE_LIMIT = 48
#: Scripts that, on the whole, one language writes: a browser then picks its letters, a screen reader its voice.
_LANGUAGES = {
    "Armenian": "hy", "Georgian": "ka", "Greek": "el", "Hangul": "ko", "Hiragana": "ja", "Katakana": "ja", "Thai": "th",
}  # fmt: skip

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
# More digits than any float has.
_EXACT = Context(prec=400, rounding=ROUND_HALF_UP)
# Letters and marks that draw nothing: Hangul fillers, the grapheme joiner, Khmer inherent vowels.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5")


def undefined(value: float | None) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def quotient(numerator: float | None, denominator: float | None) -> float | None:
    """None where a part is not known, or the whole is nothing."""
    return None if numerator is None or not denominator else numerator / denominator


def change_of(before: float | None, after: float | None) -> float | None:
    """As a share of what was before; below 0 where it is less now."""
    share = quotient(after, before)
    return None if share is None else share - 1


def count(value: float | None) -> str:
    """An integer with its thousands apart."""
    return DASH if value is None or undefined(value) else f"{int(value):,}"


def rounded(value: float, digits: int) -> str:
    """A number with so many decimals, its thousands apart; halves away from zero, as JavaScript's toFixed has them.

    Python's own formatting rounds them to even: numbers would change when the page's script takes over.
    """
    return f"{Decimal(float(value)).quantize(Decimal(1).scaleb(-digits), context=_EXACT):,f}"


def fixed(value: float | None, digits: int = 3) -> str:
    """A decimal number; further digits are spent before it may read 0 or 1 without being so."""
    if value is None or undefined(value):
        return DASH
    if value in (0, 1):
        return rounded(value, digits)
    for n_digits in range(digits, 10):
        shown = rounded(value, n_digits)
        if float(shown.replace(",", "")) not in (0.0, 1.0):
            return shown.replace("-", MINUS)
    return f"{value:.1e}" if abs(value) < 0.5 else f"{'<' if value < 1 else '>'} 1"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one as "47.3 %"; "0" and "100" only when truly so."""
    if share is None or undefined(share):
        return DASH
    if share in (0, 1):
        return "100 %" if share else "0 %"
    for n_digits in range(digits, 8):
        shown = rounded(100 * share, n_digits)
        if float(shown.replace(",", "")) not in (0.0, 100.0):
            return f"{shown} %".replace("-", MINUS)
    return "> 99.9 %" if share > 0.5 else "< 0.1 %"


def change(share: float | None) -> str:
    """A change as a share of what was before, with its sign: +7.1 %."""
    return f"+{percent(share)}" if share is not None and share > 0 else percent(share)


def short_count(value: float | None) -> str:
    """A large count for a headline: 164.6 M."""
    if value is None or undefined(value):
        return DASH
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(value) >= factor:
            return f"{rounded(value / factor, 1)} {unit}"
    return count(value)


def times(value: float | None) -> str:
    """A factor as "2.49 ×"."""
    return DASH if value is None or undefined(value) else f"{fixed(value, 2)} ×"


def size_of(n_bytes: float | None) -> str:
    """Bytes in the unit a person would use, a dash for none."""
    return DASH if n_bytes is None or undefined(n_bytes) else shown_bytes(n_bytes)


def seconds(value: float | None) -> str:
    return DASH if value is None or undefined(value) else f"{fixed(value, 2)} s"


def duration(value: float | None) -> str:
    """Seconds as a person would say them: 1.50 s, 12 min 5 s, 3 h 20 min."""
    if value is None or undefined(value) or value < 60:
        return seconds(value)
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def learning_rate(value: float) -> str:
    """As people write it: 5e-4, 0.01."""
    if not 0 < value < 0.01:
        return DASH if undefined(value) else f"{value:g}"
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def _is_hidden(char: str) -> bool:
    if char == " ":
        return False
    if char in _BLANK_LETTERS or unicodedata.category(char) in _HIDDEN_CATEGORIES:
        return True
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _parts(text: str, limit: int) -> list[tuple[bool, str]]:
    """Runs of shown text and, apart from them, names of what cannot be seen: (is_name, text)."""
    parts: list[tuple[bool, str]] = []
    for char in text[:limit]:
        if _is_hidden(char):
            parts.append((True, f"U+{ord(char):04X}"))
        elif parts and not parts[-1][0]:
            parts[-1] = (False, parts[-1][1] + char)
        else:
            parts.append((False, char))
    if len(text) > limit:
        parts.append((True, f"\u2026 {len(text) - limit:,} more characters"))
    return parts


def plain(text: object, limit: int = NAME_LIMIT) -> str:
    """Text for places that hold no markup: the title, labels for screen readers."""
    return "".join(f"[{shown}]" if is_name else shown for is_name, shown in _parts(str(text), limit))


def visible(text: object, limit: int = NAME_LIMIT) -> Markup:
    """Any foreign text as safe markup."""
    if text is None:
        return Markup(DASH)
    shown = Markup().join(
        Markup('<span class="ctl">{}</span>').format(part) if is_name else escape(part)
        for is_name, part in _parts(str(text), limit)
    )
    return Markup("<bdi>{}</bdi>").format(shown)


def language(text: str) -> str | None:
    """The language of a text, where its script tells."""
    return _LANGUAGES.get(dominant_script(text[:1000]) or "")


def piece(text: str | None, raw: bytes | None) -> Markup:
    """A token: its text with spaces shown, or its bytes in hex where they are no whole characters.

    Where the vocabulary spells bytes in an alphabet of its own (byte-level bases), the decoded text is shown.
    """
    shown = text
    if raw is not None:
        try:
            decoded = raw.decode()
        except UnicodeDecodeError:
            hexadecimal = raw[:PIECE_LIMIT].hex(" ").upper()
            more = "" if len(raw) <= PIECE_LIMIT else f" \u2026 {len(raw) - PIECE_LIMIT:,} more bytes"
            return Markup('<bdi><span class="ctl" title="bytes">{}</span></bdi>').format(hexadecimal + more)
        if text is None or text.replace("\u2581", " ") != decoded.replace("\u2581", " "):
            shown = decoded
    return visible(shown if shown is None else shown.replace(" ", "\u2423"), PIECE_LIMIT)


def option(value: Any) -> Markup:
    """An option's value as a person would write it."""
    if value is None:
        return Markup(DASH)
    if isinstance(value, bool):
        return Markup("yes" if value else "no")
    if isinstance(value, Mapping):
        return visible(", ".join(f"{key}={item}" for key, item in value.items()) or DASH)
    if isinstance(value, list | tuple):
        return visible(", ".join(str(item) for item in value) or DASH)
    return visible(value)
