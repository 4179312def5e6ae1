"""The programs that load what `vocabopt merge` writes, one module each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from installs import Say
from tokenizers_made import Form


class Program(Protocol):
    """A program that is asked to load a folder's tokenizer and to encode with it.

    version: set by `prepare`, which installs what is missing and raises NotRunError where that cannot be done.
    reads_special: whether it takes the name of a special token in the text for that token.
    """

    name: str
    version: str
    reads_special: bool

    def prepare(self, cache: Path, say: Say) -> None: ...

    def reads(self, form: Form) -> bool:
        """Is there a file in the folder that this program reads?"""
        ...

    def encode(self, form: Form, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, no special tokens added."""
        ...
