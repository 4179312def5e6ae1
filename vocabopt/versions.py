"""Which versions made a result."""

import importlib.metadata
import platform

from vocabopt import __version__

_NAMED = ("tokenizers", "gigatoken", "sentencepiece", "polars", "numba", "numpy", "mistral-common")


def versions() -> dict[str, str]:
    """Of Python, this package and the libraries that count; those that are not installed are left out."""
    found = {"python": platform.python_version(), "vocabopt": __version__}
    for name in _NAMED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
