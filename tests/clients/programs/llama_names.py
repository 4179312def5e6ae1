"""How llama.cpp's converter tells the split pattern of a byte-level tokenizer: by a hash of what it makes of one text.

The text and the hashes that it knows are read out of its own source.
"""

import ast
import functools
import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from installs import NotRunError
from tokenizers import Tokenizer

_FUNCTION = "get_vocab_base_pre"


@dataclass(frozen=True)
class Names:
    """text: what the converter encodes. known: hash of the ids -> llama.cpp's name of the split pattern."""

    text: str
    known: Mapping[str, str]

    def hash_of(self, tokenizer: Tokenizer) -> str:
        """As the converter makes it, special tokens that every text begins with included."""
        return hashlib.sha256(str(tokenizer.encode(self.text).ids).encode()).hexdigest()

    def name_of(self, tokenizer: Tokenizer) -> str | None:
        return self.known.get(self.hash_of(tokenizer))


@functools.cache
def names(archive: Path) -> Names:
    """Read them out of the source archive of llama-cpp-python.

    Raises:
        NotRunError: they are not where they are looked for.
    """
    with tarfile.open(archive) as files:
        for member in files:
            if not (member.name.endswith(".py") and "llama.cpp/conver" in member.name):
                continue
            content = files.extractfile(member)
            source = content.read().decode() if content else ""
            if f"def {_FUNCTION}" in source:
                return _names_in(source)
    raise NotRunError(f"{archive}: no {_FUNCTION} in the converter of llama.cpp")


def _names_in(source: str) -> Names:
    function = next(
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == _FUNCTION
    )
    values = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    known = {}
    for node in ast.walk(function):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Compare) and isinstance(node.body[0], ast.Assign):
            compared = node.test.comparators[0]
            if isinstance(compared, ast.Constant) and isinstance(compared.value, str):
                known[compared.value] = ast.literal_eval(node.body[0].value)
    return Names(text=ast.literal_eval(values["chktxt"]), known=known)
