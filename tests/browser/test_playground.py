"""The playground's JavaScript gives exactly the tokens of the exported tokenizer, in Chromium, at every size.

The authority is the `tokenizers` library with the tokenizer.json that `vocabopt merge` writes.
"""

import base64
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
from conftest import Run
from helpers import lines_of, merged

import vocabopt.report
from browser.conftest import Opened
from vocabopt.bases import Base
from vocabopt.report.playground import pack_tokenizer
from vocabopt.verify.hard_strings import hard_strings

pytestmark = pytest.mark.browser
SCRIPT = (Path(vocabopt.report.__file__).parent / "assets" / "tokenizer.js").read_text("utf-8")
PAGE = f"""<!doctype html><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'">
<title>Tokenizer</title><script>{SCRIPT}</script>"""
LOAD = """async ([name, pack]) => {
  const bytes = Uint8Array.from(atob(pack), (char) => char.charCodeAt(0));
  globalThis.tokenizers ??= {};
  tokenizers[name] = await VocaboptTokenizer.load(bytes);
}"""


class Engine:
    """The tokenizers loaded in one page."""

    def __init__(self, opened: Opened) -> None:
        self.opened, self.page = opened, opened.page

    def load(self, base: Base, curve: pl.DataFrame, name: str = "one") -> None:
        self.page.evaluate(LOAD, [name, base64.b64encode(pack_tokenizer(base, curve)).decode()])

    def encode(self, texts: Sequence[str], size: int, name: str = "one") -> list[list[int]]:
        encode = "([name, texts, size]) => texts.map((text) => tokenizers[name].encode(text, size))"
        found: list[list[int]] = self.page.evaluate(encode, [name, list(texts), size])
        return found


@pytest.fixture
def engine(open_page: Callable[[Path], Opened], tmp_path: Path) -> Iterator[Engine]:
    path = tmp_path / "page.html"
    path.write_text(PAGE, encoding="utf-8")
    opened = open_page(path)
    yield Engine(opened)
    assert opened.errors == []
    assert opened.requests == []


def random_text(source: random.Random) -> str:
    """Characters of one or two blocks, or of all of Unicode, among spaces, digits and letters."""
    blocks = [source.randrange(0x3200) * 0x100 for _ in range(2)]
    blocks = [block % 0x110000 for block in blocks]
    pools = [
        lambda: chr(source.randrange(0x20, 0x7F)),
        lambda: chr(source.choice(blocks) + source.randrange(0x100)),
        lambda: chr(source.randrange(0x110000)),
        lambda: source.choice(" \t\n\r\u3000\u00a0'0123sStTkK\u017f\u212a\u0301\u0308\u200d"),
        lambda: chr(source.randrange(0xAC00, 0xD7A4)),
        lambda: chr(source.randrange(0x1100, 0x1200)),
    ]
    chosen = source.sample(pools, 3)
    text = "".join(source.choice(chosen)() for _ in range(source.randrange(1, 40)))
    return "".join(char for char in text if not 0xD800 <= ord(char) < 0xE000)


def strings(base: Base) -> list[str]:
    """At least 1,000: hard ones, the sample corpus, added tokens inside text, and random Unicode."""
    source = random.Random(4)
    added = [content for content in base.added_contents for _ in range(3)][:60]
    before, behind = ("", "a", " ", "한 "), ("", "b", "  x", "글")
    inside = [source.choice(before) + token + source.choice(behind) for token in added]
    corpus = lines_of("ko")[::7] + lines_of("en")[::11]
    scattered = [random_text(source) for _ in range(400)]
    together = ["".join(source.sample(inside + scattered, 4)) for _ in range(50)]
    return [*source.sample(hard_strings(), 600), *corpus, *inside, *scattered, *together, ""]


def sizes_of(run: Run) -> list[int]:
    last = len(run.curve)
    return [0, 1, last // 7, last // 2, last]


def assert_same(engine: Engine, base: Base, curve: pl.DataFrame, texts: Sequence[str], size: int) -> None:
    expected = [e.ids for e in merged(base, curve, size).encode_batch_fast(list(texts), add_special_tokens=False)]
    found = engine.encode(texts, size)
    differing = [(t, f, e) for t, f, e in zip(texts, found, expected, strict=True) if f != e]
    assert differing == [], (size, len(differing))


def test_ids_are_those_of_the_exported_tokenizer_at_five_sizes(engine: Engine, run: Run) -> None:
    engine.load(run.base, run.curve)
    texts = strings(run.base)
    assert len(texts) >= 1_000
    for size in sizes_of(run):
        assert_same(engine, run.base, run.curve, texts, size)
