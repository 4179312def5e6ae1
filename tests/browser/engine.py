"""The playground's JavaScript in a page of its own, and what its tests compare it with."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from helpers import base_of, merged

from browser.conftest import Opened
from vocabopt.report.playground import pack_tokenizer
from vocabopt.tokenizer import Tokenizer

PAGE = """<!doctype html><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'">
<title>Tokenizer</title><script>{}</script>"""
LOAD = """async (pack) => {
  globalThis.tokenizer = await VocaboptTokenizer.load(Uint8Array.from(atob(pack), (char) => char.charCodeAt(0)));
}"""
#: A text for each code point: `{}` is the character, `{next}` the one after it.
FILL = """([first, last, template]) => {
  const parts = [];
  const char = (code) => (code < 0x110000 && (code & 0x1ff800) !== 0xd800 ? String.fromCodePoint(code) : "");
  for (let code = first; code < last; code++) {
    if (char(code)) parts.push(template.replaceAll("{}", char(code)).replaceAll("{next}", char(code + 1)));
  }
  globalThis.text = parts.join("");
}"""
#: The blocks in which all code points are gone through.
BLOCKS = tuple((first, first + 0x10000) for first in range(0, 0x110000, 0x10000))
#: No added tokens.
NO_ROWS: dict[str, Any] = {
    "piece": pl.String,
    "left": pl.Int64,
    "right": pl.Int64,
    "opened": pl.List(pl.List(pl.Int64)),
}


class Engine:
    """A page with one tokenizer. Long arrays come as JSON, which is much faster than one value after another."""

    def __init__(self, opened: Opened) -> None:
        self.opened, self.page = opened, opened.page

    def load(self, base: Tokenizer, curve: pl.DataFrame | None = None) -> None:
        pack = pack_tokenizer(base, pl.DataFrame(schema=NO_ROWS) if curve is None else curve)
        self.page.evaluate(LOAD, base64.b64encode(pack).decode())

    def encode(self, texts: Sequence[str], size: int = 0) -> list[list[int]]:
        script = "([texts, size]) => JSON.stringify(texts.map((text) => tokenizer.encode(text, size)))"
        found: list[list[int]] = json.loads(self.page.evaluate(script, [list(texts), size]))
        return found

    def words(self, text: str) -> list[str | int]:
        found: list[str | int] = self.page.evaluate("(text) => tokenizer.words(text)", text)
        return found

    def fill(self, block: tuple[int, int], template: str) -> str:
        """Make the same text of every code point here and in the page."""
        self.page.evaluate(FILL, [*block, template])
        return filled(block, template)

    def encode_filled(self, size: int) -> list[int]:
        found: list[int] = json.loads(
            self.page.evaluate("(size) => JSON.stringify(tokenizer.encode(text, size))", size)
        )
        return found

    def words_of_filled(self) -> tuple[list[int], str]:
        """Lengths of the words in UTF-16, and the words in a row."""
        script = """() => {
          const words = tokenizer.words(text);
          return [JSON.stringify(words.map((word) => word.length)), words.join("")];
        }"""
        lengths, text = self.page.evaluate(script)
        return json.loads(lengths), text


def filled(block: tuple[int, int], template: str) -> str:
    def char(code: int) -> str:
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else ""

    codes = (code for code in range(*block) if char(code))
    return "".join(template.replace("{}", char(code)).replace("{next}", char(code + 1)) for code in codes)


def assert_same_ids(engine: Engine, base: Tokenizer, curve: pl.DataFrame, texts: Sequence[str], size: int) -> None:
    """The page gives the ids of the tokenizer that merge writes for this size."""
    encodings = merged(base, curve, size).encode_batch_fast(list(texts), add_special_tokens=False)
    compared = zip(texts, engine.encode(texts, size), encodings, strict=True)
    differing = [(text, ids, expected.ids) for text, ids, expected in compared if ids != expected.ids]
    assert differing == [], (size, len(differing))


def changed(base: Tokenizer, **parts: Any) -> Tokenizer:
    """The base with other parts of tokenizer.json: normalizer, pre_tokenizer, added_tokens."""
    return base_of({**base.tokenizer_json, **parts})


def split_base(base: Tokenizer, *steps: Mapping[str, Any], normalizer: Mapping[str, Any] | None = None) -> Tokenizer:
    """A byte-level base with other steps before ByteLevel; a string is a pattern."""
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return changed(base, normalizer=normalizer, pre_tokenizer={"type": "Sequence", "pretokenizers": [*steps, to_bytes]})


def split_step(pattern: str, behavior: str = "Isolated", *, invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}
