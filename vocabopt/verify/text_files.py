"""Reading the text to check with: the built-in lines, then every document of --text and --protect, in batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vocabopt.options import VerifyOptions
from vocabopt.text.corpus import n_stored_bytes, named_set
from vocabopt.text.readers import read_blocks
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.verify.plain_lines import plain_lines

Role = Literal["hard", "text", "protect"]

#: Names of the built-in lines: those of `hard_strings`, and those of `plain_lines`.
BUILT_IN, PLAIN = "built-in edge cases", "built-in English and code"

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Some documents. name: of the text, as it was given. n_stored_bytes: of the file that they come from."""

    role: Role
    name: str
    documents: list[str]
    n_stored_bytes: int = 0


class Texts:
    """What there is to read. Raises CorpusError where a path is missing or holds no text."""

    def __init__(self, options: VerifyOptions) -> None:
        self._read = read = options.read_options()
        named: list[tuple[Role, str, str]] = [("text", name, path) for name, path in options.texts.items()]
        named += [("protect", name, path) for name, path in options.protects.items()]
        self._sets = [
            (role, named_set(name, path, "protected" if role == "protect" else "eval", read))
            for role, name, path in named
        ]

    @property
    def n_bytes(self) -> int | None:
        """Stored bytes of all files; None where a size is not known."""
        return n_stored_bytes([text_set for _, text_set in self._sets])

    def __iter__(self) -> Iterator[Lines]:
        yield Lines(role="hard", name=BUILT_IN, documents=list(hard_strings()))
        yield Lines(role="hard", name=PLAIN, documents=list(plain_lines()))
        for role, file in ((role, file) for role, text_set in self._sets for file in text_set.files):
            for block in read_blocks(file, self._read, block_bytes=_BLOCK_BYTES):
                yield Lines(
                    role=role,
                    name=f"--{role} {file.text_set}",
                    documents=block.documents.to_list(),
                    n_stored_bytes=block.n_stored_bytes,
                )
