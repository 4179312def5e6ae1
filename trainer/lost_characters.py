"""Characters that a byte-level tokenizer has no token for: `tokenizers` leaves them out, or gives an unknown token."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.tokenizer.families import missing_bytes, steps_of


@dataclass(frozen=True)
class LostCharacters:
    """What is lost of text. missing: bytes of UTF-8 without a token. added: added tokens that hold such bytes all the
    same, and are found in text before it becomes bytes.
    """

    missing: bytes = b""
    added: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "LostCharacters":
        """Those of a tokenizer.json; nothing, where it is no byte-level BPE."""
        steps = steps_of(value.get("pre_tokenizer"), "pretokenizers")
        if value["model"].get("type") != "BPE" or not any(step["type"] == "ByteLevel" for step in steps):
            return cls()
        missing = missing_bytes(value["model"]["vocab"])
        contents = [str(token["content"]) for token in value.get("added_tokens") or ()]
        return cls(missing, tuple(text for text in contents if not set(missing).isdisjoint(text.encode())))

    @property
    def tears(self) -> bool:
        """Whether a byte that stands inside characters is missing, so that what is left of them is no text."""
        return any(0x80 <= byte < 0xC0 for byte in self.missing)

    def count(self, text: str) -> int:
        """How many characters of a text are lost."""
        if not self.missing:
            return 0
        for content in self.added:
            text = text.replace(content, "")
        data = np.frombuffer(text.encode(), np.uint8)
        places = np.flatnonzero(self._is_missing[data])
        if not len(places):
            return 0
        # A character begins at every byte that is no continuation byte.
        number_of = np.cumsum((data & 0xC0) != 0x80)
        return len(np.unique(number_of[places]))

    def without(self, text: str) -> str:
        """What the tokenizer keeps of a text."""
        if not self.count(text):
            return text
        missing = set(self.missing)
        return "".join(char for char in text if missing.isdisjoint(char.encode()))

    @cached_property
    def _is_missing(self) -> NDArray[np.bool_]:
        return np.isin(np.arange(256), [*self.missing])
