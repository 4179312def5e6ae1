"""Adaptation of a model to a merged tokenizer: embedding init and staged continual pretraining.

    import trainer

    adapted = trainer.adapt("./SOLAR-10.7B", merged, text={"ko": "news.jsonl.gz"}, budget="2Btok", out="adapted")

This package may import `vocabopt`, never the reverse: the two meet in the files of a run directory. It is the only one
that imports torch (the extra ``train``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.api import Adapted, ChatModel, adapt, chat_vector

__all__ = ["Adapted", "ChatModel", "adapt", "chat_vector"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainer import api

    value = getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
