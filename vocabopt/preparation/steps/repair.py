"""Steps that mend text: encoding damage, control characters and the like; Unicode normalisation (NFC)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import ClassVar, Literal

import polars as pl

from vocabopt.errors import VocaboptError, how_to_install
from vocabopt.preparation.step import DocumentStep, Outcome, change_flagged

#: The 256 syllables most frequent in Korean prose (counted on corpus/ko): 84 % of the syllables of an encyclopedia,
#: 82 % of those of film reviews, and 11 % of the 2,350 that two bytes at random can make.
FREQUENT_SYLLABLES = frozenset(
    "다이는에가지을고어은서로기하니를요리시아한면나도으라보자의그만사수해게장있일오물들데주전까마대부거내소인두었분세려무제안여"
    "간야말음정터습때저없했드반러바비조번금원달신개미않래스구계르상진과우치것더동네문차모와집실공방열처되화배았올건선린날며산히할걸"
    "관늘던생온운단뒤른불남새머식작적년람알유줄예울호길름연난너목버손위입경돌속통느된렸발당든쪽합용파같국넣럼워져겠놓명못천누직타표"
    "갈님중체등따루먹약재막셨근본초피학각노성앞절종십월크트질편회겨교살석얼점채벌설양추출행결매쓰박빠영후감끝심였임잡째쯤란록밤언"
)
MIN_FREQUENT_SHARE = 0.4
#: Syllables that a run must hold before it is taken for CP949: "AÇÃO" holds the bytes of one.
MIN_SYLLABLES_CP949 = 3
MIN_SYLLABLES_OF_WORDS = 5  # where the run as a whole cannot be read
MIN_SYLLABLES_UTF8 = 2

# --- Bytes shown as characters of Windows-1252 or Latin-1 -------------------------------------------------------------

# Bytes 80 to 9F are punctuation in Windows-1252, but for five, and C1 controls in Latin-1.
_WINDOWS = {b: bytes([b]).decode("cp1252") for b in range(0x80, 0xA0) if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}
_TO_LATIN1 = {ord(char): byte for byte, char in _WINDOWS.items()}
_SPECIALS = "".join(_WINDOWS.values())
_FOLLOWING = f"[\x80-\xbf{_SPECIALS}]"  # bytes 80 to BF, which continue a character of UTF-8
_HIGH_WORD = re.compile(f"(?<![A-Za-z])[\x80-\xff{_SPECIALS}]+(?![A-Za-z])")
_BYTE_RUN = re.compile(f"[\x00-\xff{_SPECIALS}]+")

_UTF8 = f"[\xc2-\xdf]{_FOLLOWING}|[\xe0-\xef]{_FOLLOWING}{{2}}|[\xf0-\xf4]{_FOLLOWING}{{3}}"
# No ground for mending: a capital that ends a word, before punctuation ("AMANHÃ»" is Portuguese, not "AMANHû"); a
# letter and two of no-break space, quotes and dashes, as French has it ("à «").
_AMBIGUOUS = re.compile(
    "(?:(?<![a-zß-ÿ])[Ã-ß]|(?<=[A-ZÀ-Þ])Â)(?:\\xa0|[»«°®”“’‘…–—™](?![A-Za-zÀ-ÿ]))|[à-ï][\\xa0«»“”‘’…–—]{2}"
)
_UTF8_SYLLABLE = re.compile(f"[\xea-\xed]{_FOLLOWING}{{2}}")
# Two syllables of KS X 1001: lead bytes B0 to C8, then A1 to FE.
_CP949 = "(?:[\xb0-\xc8][\xa1-\xfe]){2}"
_NOT_KOREAN = re.compile("[^\x00-\x7f가-힣ㄱ-ㅣ\u3000-\u303f]")
_ACCENTED = re.compile("[À-ÿ]")
_C1 = "[\x80-\x9f]"


def _bytes_shown(text: str) -> bytes:
    return text.translate(_TO_LATIN1).encode("latin-1")


def _is_korean(text: str, min_syllables: int) -> bool:
    """Prose rather than bytes that happen to be syllables: mostly Hangul, varied, syllables that Korean uses often."""
    syllables = [char for char in text if "가" <= char <= "힣"]
    n_frequent = sum(char in FREQUENT_SYLLABLES for char in syllables)
    return (
        len(syllables) >= min_syllables
        and len(set(syllables)) >= min(min_syllables, 3)
        and len(_NOT_KOREAN.findall(text)) <= len(syllables)
        and n_frequent >= MIN_FREQUENT_SHARE * len(syllables)
    )


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _from_cp949(match: re.Match[str]) -> str:
    """A run of characters that stand for bytes, read as CP949 where that gives Korean; else as it was."""
    run = match[0]
    data = _bytes_shown(run)
    # Signs alone ("°°°°··"), or UTF-8, which ftfy mends.
    if not _ACCENTED.search(run) or _decoded(data, "utf-8") is not None:
        return run
    whole = _decoded(data, "cp949")
    if whole is not None:
        return whole if _is_korean(whole, MIN_SYLLABLES_CP949) else run
    # A byte was lost somewhere, and the words around it can still be read; or these are words with accents.
    read = {word: _decoded(_bytes_shown(word), "cp949") for word in _HIGH_WORD.findall(run)}
    read = {word: text for word, text in read.items() if _decoded(_bytes_shown(word), "utf-8") is None}
    if not _is_korean("".join(text for text in read.values() if text is not None), MIN_SYLLABLES_OF_WORDS):
        return run
    return _HIGH_WORD.sub(lambda word: read.get(word[0]) or word[0], run)


def _syllable(match: re.Match[str]) -> str:
    text = _decoded(_bytes_shown(match[0]), "utf-8")
    return text if text is not None and "가" <= text <= "힣" else match[0]


# --- UTF-8 shown as CP949 --------------------------------------------------------------------------------------------

_NOT_ASCII_RUN = re.compile("[^\x00-\x7f]+")


@cache
def _utf8_in_cp949() -> str:
    """Pattern of a Hangul syllable and the lead byte of the next: EA-ED A1-BF, then 80-BF EA-ED, both as CP949."""
    lead, trail, following = range(0xEA, 0xEE), range(0xA1, 0xC0), range(0x80, 0xC0)
    first = "".join(bytes(pair).decode("cp949") for pair in product(lead, trail))
    second = "".join(bytes(pair).decode("cp949", "ignore") for pair in product(following, lead))
    return f"[{first}][{second}]"


def _from_utf8_in_cp949(match: re.Match[str]) -> str:
    """A run of characters written back as CP949 and read as UTF-8, where that loses nothing and gives Korean."""
    try:
        text = match[0].encode("cp949").decode("utf-8")
    except UnicodeError:
        return match[0]
    all_hangul = len(text) >= MIN_SYLLABLES_UTF8 and all("가" <= char <= "힣" for char in text)
    return text if all_hangul or _is_korean(text, MIN_SYLLABLES_UTF8) else match[0]


# --- Control characters ----------------------------------------------------------------------------------------------

_ESCAPE_SEQUENCE = r"\x1b\[[0-9;]*[A-Za-z]"  # colours of a terminal, whole: "\x1b[36;44m"
_LINE_BREAK = r"\r\n?|[\x0b\x0c]"
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_BYTE_ORDER_MARK = r"(?m)^\ufeff"  # inside a line it is a joiner, as some books use it


def _without_controls(texts: pl.Series) -> pl.Series:
    flagged = texts.str.contains(_CONTROL) | texts.str.contains(_BYTE_ORDER_MARK)
    if not flagged.any():
        return texts
    # In this order: the parameters of an escape sequence are ordinary characters, and no line break is lost.
    cleaned = (
        texts.filter(flagged)
        .str.replace_all(_ESCAPE_SEQUENCE, "")
        .str.replace_all(_LINE_BREAK, "\n")
        .str.replace_all(_CONTROL, "")
        .str.replace_all(_BYTE_ORDER_MARK, "")
    )
    return texts.clone().scatter(flagged.arg_true(), cleaned)


# --- The step --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Repair(DocumentStep):
    """Mend text that was read in the wrong encoding, and remove control characters.

    control_characters: "remove" or "keep". Removed are the controls of Unicode (category Cc) other than tab and line
    feed, the colour codes of terminals, and the byte order mark (U+FEFF) that starts a line; what ends a line
    (carriage return, vertical tab, form feed) becomes a line feed, so that no two words are joined. "keep" still mends
    what were quotes and dashes of Windows-1252.
    """

    name: ClassVar[str] = "repair"
    control_characters: Literal["remove", "keep"] = "remove"

    def load(self) -> Callable[[pl.Series], Outcome]:
        try:
            from ftfy import TextFixerConfig, fix_encoding
            from ftfy.fixes import fix_c1_controls
        except ImportError as error:
            raise VocaboptError(
                f"[repair] needs ftfy ({error}). {how_to_install('prepare')} Or leave the step out: --steps."
            ) from error
        config = TextFixerConfig()  # fix_encoding reads of it only what concerns encodings
        utf8, cp949, utf8_in_cp949 = re.compile(_UTF8), re.compile(_CP949), re.compile(_utf8_in_cp949())
        flag = "|".join((_UTF8, _CP949, _C1, _utf8_in_cp949()))
        flagged = re.compile(flag)

        def mended(line: str) -> str:
            if not flagged.search(line):
                return line
            # CP949 comes first: ftfy takes pairs of its bytes for Greek and Cyrillic.
            if cp949.search(line):
                line = _BYTE_RUN.sub(_from_cp949, line)
            if utf8.search(_AMBIGUOUS.sub(" ", line)):
                fixed = fix_encoding(line, config)
                if fixed != line and any("가" <= char <= "힣" for char in fixed):
                    # In a line of both, ftfy leaves a syllable that stands alone: "1998ë…„".
                    fixed = _UTF8_SYLLABLE.sub(_syllable, fixed)
                line = fixed
            if utf8_in_cp949.search(line):
                line = _NOT_ASCII_RUN.sub(_from_utf8_in_cp949, line)
            return str(fix_c1_controls(line))

        def mend(text: str) -> str:
            return "\n".join(map(mended, text.split("\n")))

        def work(texts: pl.Series) -> Outcome:
            texts = change_flagged(texts, texts.str.contains(flag), mend)
            return Outcome.changing(_without_controls(texts) if self.control_characters == "remove" else texts)

        return work


#: What a text must hold for NFC to change it: a combining mark, which may compose or stand out of order; a Jamo that
#: joins a syllable (Hangul as macOS names files); or a character that NFC replaces by itself, such as the ohm sign and
#: the compatibility ideographs. That covers NFC_Quick_Check=No and Maybe (some vowels of Kirat Rai are neither mark nor
#: Jamo).
MAY_CHANGE = (
    r"[\p{M}\u{1161}-\u{1175}\u{11A8}-\u{11C2}\u{16D63}-\u{16D6A}"
    r"\u{374}\u{37E}\u{387}\u{958}-\u{95F}\u{9DC}-\u{9DF}\u{A33}-\u{A36}\u{A59}-\u{A5E}\u{B5C}-\u{B5D}\u{F43}-\u{F69}"
    r"\u{1F71}-\u{1F7D}\u{1FBB}-\u{1FFD}\u{2000}-\u{2001}\u{2126}-\u{212B}\u{2329}-\u{232A}\u{2ADC}"
    r"\u{F900}-\u{FAD9}\u{FB1D}-\u{FB4E}\u{1D15E}-\u{1D1C0}\u{2F800}-\u{2FA1D}]"
)


@dataclass(frozen=True, kw_only=True)
class Normalize(DocumentStep):
    """Unicode NFC: "ㅎ" + "ㅏ" + "ㄴ" as conjoining Jamo becomes "한". No options.

    Compatibility characters (full-width letters, ligatures, "㈜") stay: that would be NFKC.
    """

    name: ClassVar[str] = "nfc"

    def load(self) -> Callable[[pl.Series], Outcome]:
        def work(texts: pl.Series) -> Outcome:
            # Looking costs a sixth of normalizing: 720 against 110 MB/s.
            where = texts.str.contains(MAY_CHANGE).arg_true()
            if len(where) == 0:
                return Outcome.changing(texts)
            return Outcome.changing(texts.clone().scatter(where, texts.gather(where).str.normalize("NFC")))

        return work
