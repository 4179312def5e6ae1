"""The lines that every client encodes: Korean, English, code and hard strings; the same ones in every run."""

import gzip
import json
import os
import random
import sysconfig
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
#: Of each ten lines so many are Korean, Korean with English in it, English, code, hard strings.
SHARES = {"korean": 4, "mixed": 1, "english": 2, "code": 1, "hard": 2}
_SOURCES = {"korean": ("ko_wiki", "ko_nsmc_reviews"), "mixed": ("ko_tech_docs",), "english": ("en_wiki",)}
#: One line in so many of the data is taken, so that lines come from all over its files.
_STRIDE = 23
_SEED = 20240911

#: What hard strings are put together from. Names of special tokens are spelled as in bases known; a line that holds one
#: of the base at hand is counted apart.
# fmt: off
_ATOMS = (
    "\u1112\u1161\u11ab", "\u1100\u1173\u11af", "\u1112\u1161", "ㅋㅋㅋㅋ", "ㅠㅠ", "한국어", "을", "뷁",
    "漢字", "かな", "カナ", "👩\u200d👩\u200d👧\u200d👦", "👨🏽\u200d💻", "🇰🇷", "🏴\u200d☠\ufe0f", "1\ufe0f\u20e3",
    "\u200d", "\ufe0f", "🫠", "ﬁ", "ꥠ", "ﾡ",
    "  ", "    ", " " * 17, "\t", "\t\t\t", " \t ", "\n", "\r\n", "\r", "\n\n", " \n", "\v", "\f", "\x85", "\u2028",
    "\u00a0", "\u3000", "\u2009", "\u200b", "\ufeff", "\u00ad", "\u180e", "\u1680", "▁", "▁▁", " ▁", "▁한", "Ġ", "Ċ",
    "\u200e", "\u200f", "\u202e", "\u2066", "\u2069", "שלום", "مرحبا", "e\u0301", "é", "\u0301", "A\u030a", "\u212b",
    "\x01", "\x1b[0m", "\x7f", "\x1f", "\ufffd", "\ue000", "\U0010ffff", "\uffff", "\u0378", "\U0001fae9", "\U000e0041",
    "'s", "'LL", "'ſ", "don't", "I'M", "’re", "ſ", "İ", "ß", "ẞ", "Ǆ", "ǅ", "ª", "²", "½", "Ⅷ", "٣", "१", "𝟘", "①",
    "0", "12", "123", "1234567", "3.14", "...", "!!!", "=====", "----", "//", "/*", "*/", "{}", "\\n", "<", ">", "|",
    "<s>", "</s>", "<unk>", "[INST]", "<|endoftext|>", "<|im_start|>", "<|eot_id|>", "<0x41>", "<s >", "<|x|>", "<pad>",
    "a", "Z", "hello", "World", "camelCase", "ABCdef", "naïve", "ПриветМир", "ÉcoleÉTÉ", "ไทย", "हिन्दी", "ខ្មែរ", "ꀀ",
)
_RANGES = (
    (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x1000, 0x1400), (0x2000, 0x2070), (0x3000, 0x3300), (0xA000, 0xAC00),
    (0xAC00, 0xD7A4), (0xD700, 0xD800), (0xF900, 0xFFFE), (0x1F300, 0x1FB00),
)
_WHOLE = (
    "", " ", "  ", "\t", "\n", "\r\n", " \n ", "▁", "▁▁▁", "\u3000", "\u00a0\u00a0", "\ufeff", "\ufeff한국어",
    " 한국어", "  한국어", "한국어 ", "한국어  ", "한 국 어", "ㄱ" * 300, "하" * 2000, "ha" * 1000,
    " " * 1000, "\t" * 300, "\n" * 200, "\r\n" * 100, "!" * 500, "1" * 400, "▁" * 100, "👍" * 200,
    "가\u0301" * 50, "e\u0301" * 50,
    "하나\r\n둘\r\r\n셋\n\r넷\n\n", "{\r\n\t'값': \"하나\",\r\n}\n", "'S 'Ll 'rE i'ſ I'D", "가'을 나'RE 'ſ다",
    "\x00", "a\x00b", "한\x00국어\x00\x00", " \x00 ",
)
# fmt: on


def data_folder() -> Path | None:
    """The development data: VOCABOPT_DATA, or ../shared/data where that is not set; None if it is not there."""
    folder = Path(os.environ.get("VOCABOPT_DATA") or ROOT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def text_lines(folder: Path) -> Iterator[str]:
    """The lines of all files in a folder, by name; of records the lines of their `text`; blank ones left out."""
    for path in sorted(file for file in folder.iterdir() if ".txt" in file.suffixes or ".jsonl" in file.suffixes):
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for stored in file:
                text = json.loads(stored)["text"] if ".jsonl" in path.suffixes else stored.decode()
                yield from (line.rstrip("\r") for line in text.split("\n") if line.strip())


def mixed_lines(n_lines: int) -> list[str]:
    """`n_lines` lines, no two alike, in the shares of `SHARES`."""
    data = data_folder()
    kinds: dict[str, Iterable[str]] = {"code": _code(), "hard": chain(_WHOLE, _hard())}
    for kind, folders in _SOURCES.items():
        found = [data / folder for folder in folders if (data / folder).is_dir()] if data is not None else []
        kinds[kind] = _interleaved([islice(text_lines(f), 0, None, _STRIDE) for f in found]) if found else _sample(kind)
    seen: set[str] = set()
    streams = {kind: _new(lines, seen) for kind, lines in kinds.items()}
    # A source that ends early leaves its turns to hard strings, which never end.
    turns = cycle([kind for kind, share in SHARES.items() for _ in range(share)])
    found_lines = (next(streams[kind], None) for kind in turns)
    return list(islice((next(streams["hard"]) if line is None else line for line in found_lines), n_lines))


def _new(lines: Iterable[str], seen: set[str]) -> Iterator[str]:
    for line in lines:
        if line not in seen:
            seen.add(line)
            yield line


def _interleaved(sources: list[Iterator[str]]) -> Iterator[str]:
    while sources:
        for source in list(sources):
            line = next(source, None)
            if line is None:
                sources.remove(source)
            else:
                yield line


def _code() -> Iterator[str]:
    """Lines of Python's own library, and now and then a few at once, with their line ends."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    for number, line in enumerate(chain.from_iterable(_lines_of_code(path) for path in paths)):
        if number % _STRIDE == 0:
            yield line


def _lines_of_code(path: Path) -> Iterator[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for start, line in enumerate(lines):
        if line.strip():
            yield "\n".join(lines[start : start + 4]) if start % 7 == 0 else line


def _sample(kind: str) -> Iterator[str]:
    """The sample corpus, again and again, each time changed in another way, for want of more text."""
    folders = {"korean": ("ko",), "english": ("en",), "mixed": ("ko", "en")}[kind]
    lines = list(_interleaved([text_lines(ROOT / "corpus" / folder) for folder in folders]))
    changes: list[Callable[[str, str], str]] = [
        lambda line, other: line,
        lambda line, other: f"{line} {other}",
        lambda line, other: line[len(line) // 3 :] + other[: len(other) // 2],
        lambda line, other: line.upper() if kind == "english" else unicodedata.normalize("NFD", line),
        lambda line, other: line.replace(" ", "  "),
        lambda line, other: "".join(line.split()),
        lambda line, other: f"\t{line}\r\n{other}",
        lambda line, other: line.swapcase()[::-1],
    ]
    for step, change in enumerate(changes, 1):
        yield from (change(line, lines[(i * 7 + step) % len(lines)]) for i, line in enumerate(lines))


def _hard() -> Iterator[str]:
    """Random strings of hard parts, of characters around the edges of Hangul's blocks, and of both."""
    chosen = random.Random(_SEED)
    while True:
        parts = []
        for _ in range(chosen.choice((1, 2, 3, 5, 8, 13))):
            if chosen.random() < 0.75:
                parts.append(chosen.choice(_ATOMS))
            else:
                first, after = chosen.choice(_RANGES)
                parts += [chr(chosen.randrange(first, after)) for _ in range(chosen.choice((1, 2, 5)))]
            parts.append(chosen.choice(("", "", "", " ")))
        yield "".join(parts)
