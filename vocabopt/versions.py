"""Which versions made a result."""

import importlib.metadata
import platform

from vocabopt import __version__

_NAMED = ("tokenizers", "gigatoken", "sentencepiece", "polars", "numba", "numpy", "mistral-common")


def versions(*more: str) -> dict[str, str]:
    """Of Python, this package, the libraries that count and `more`; those that are not installed are left out."""
    found = {"python": platform.python_version(), "vocabopt": __version__}
    for name in (*_NAMED, *more):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
