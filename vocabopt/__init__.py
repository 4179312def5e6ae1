"""How many tokens of another language an LLM's tokenizer should gain, which ones, and at what cost.

    import vocabopt

    sweep = vocabopt.sweep("corpus/", base="mistral-7b-v1", out="run")
    choice = vocabopt.choose(sweep, train_tokens="10B")
    merged = vocabopt.merge(sweep, size=choice.n_added, out="tokenizer")

What `__all__` names is the public API (vocabopt/api.py); everything else may change. Importing the package is light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vocabopt.api import (
        Analysis,
        Choice,
        Merged,
        Prepared,
        Sweep,
        Verification,
        analyze,
        choose,
        estimate,
        merge,
        open,
        prepare,
        sweep,
        verify,
    )
    from vocabopt.errors import VocaboptError

__version__ = "0.1.0"
__all__ = [
    "Analysis",
    "Choice",
    "Merged",
    "Prepared",
    "Sweep",
    "Verification",
    "VocaboptError",
    "analyze",
    "choose",
    "estimate",
    "merge",
    "open",
    "prepare",
    "sweep",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vocabopt import api, errors

    value = getattr(errors if name == "VocaboptError" else api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
