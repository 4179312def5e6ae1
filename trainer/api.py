"""The public API of the trainer: what `vocabopt adapt` does, for a notebook or another program.

The rules are those of vocabopt/api.py: options by the names of the command's options, no output, errors that are
VocaboptError and its kinds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocabopt.api import Merged, PathArgument, Progress, Texts, console_of, html_table, options_of

if TYPE_CHECKING:
    import polars as pl
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trainer.chat.record import ChatVectorRecord
    from vocabopt.training_record import AdaptRecord


@dataclass(frozen=True)
class Adapted:
    """An adapted model.

    Attributes:
        out: the folder of the run; `out / "model"` is the model with its tokenizer.
        record: what adapt.json holds.
    """

    out: Path
    record: "AdaptRecord" = field(repr=False)

    @property
    def bits_per_byte(self) -> "pl.DataFrame":
        """A row per evaluation text: `text`, then bits per byte of the base, after init, and after each stage."""
        import polars as pl

        record = self.record
        measured = {"base": record.before, "initialised": record.initialised}
        measured |= {stage.name: stage.bits_per_byte for stage in record.stages}
        rows = [{"text": text, **{when: bits.get(text) for when, bits in measured.items()}} for text in record.texts]
        return pl.DataFrame(rows, infer_schema_length=None)

    def load(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """Model and tokenizer in transformers."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = self.out / "model"
        return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self.out))}: {escape(self.record.status)}</p>{html_table(self.bits_per_byte)}"


def adapt(
    model: PathArgument,
    tokenizer: Merged | PathArgument,
    *,
    text: Texts,
    out: PathArgument,
    replay: Mapping[str, tuple[PathArgument, float] | float] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Adapted:
    """Initialise the rows of a merged tokenizer's new tokens and train in stages: `vocabopt adapt`.

    Args:
        model: the folder of the base model.
        tokenizer: the merged tokenizer: what `vocabopt.merge` returned, or its folder.
        text: name -> path of the target text; one.
        out: folder of the result.
        replay: name -> (path, share of all training bytes) of base-language text; "self" -> the share alone, of text
            that the model writes itself.
        resume: go on with a run that was stopped.
        options: those of `vocabopt adapt`: budget="10MB", plan="redwhale", init="decompose" ...

    Raises:
        VocaboptError: an input cannot be used; TrainingError and ForgettingError: training stopped, its work is kept.
    """
    from trainer.adaptation.run import adapt as run_adaptation
    from trainer.options import AdaptOptions
    from trainer.replay_options import NO_PATH
    from vocabopt.folder import folder_lock

    merged = tokenizer.out if isinstance(tokenizer, Merged) else Path(tokenizer)
    replays = {
        name: (NO_PATH, given) if isinstance(given, int | float) else (str(given[0]), given[1])
        for name, given in (replay or {}).items()
    }
    fixed = {"model": str(model), "tokenizer": merged, "out": Path(out), "replays": replays}
    named = {name: str(path) for name, path in text.items()}
    made = options_of(AdaptOptions, options, **fixed, texts=named)
    with folder_lock(made.out, "trainer.adapt"):
        return Adapted(made.out, run_adaptation(made, console_of(progress), resume=resume))


@dataclass(frozen=True)
class ChatModel:
    """An adapted base with a chat vector.

    Attributes:
        out: the model's folder, with its tokenizer.
        record: what chat_vector.json holds: bits per byte and chat prompts before and after.
    """

    out: Path
    record: "ChatVectorRecord" = field(repr=False)


def chat_vector(
    adapted: Adapted | PathArgument,
    *,
    base: PathArgument,
    instruct: PathArgument,
    out: PathArgument,
    text: Texts | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ChatModel:
    """Add what an instruct model learned beyond its base to that base's adaptation: `vocabopt chat-vector`.

    Args:
        adapted: what `adapt` returned, or its folder.
        base: the folder of the base model; instruct: that of the instruct model trained from it.
        out: folder of the result.
        text: name -> path of text to measure on before and after.
        options: those of `vocabopt chat-vector`: rows="old", scale=1.0 ...

    Raises:
        VocaboptError: an input cannot be used, or the models do not go together.
    """
    from trainer.chat.options import ChatVectorOptions
    from trainer.chat.run import run_chat_vector
    from vocabopt.folder import folder_lock

    folder = adapted.out if isinstance(adapted, Adapted) else Path(adapted)
    named = {name: str(path) for name, path in (text or {}).items()}
    fixed = {"adapted": folder, "base": str(base), "instruct": str(instruct), "out": Path(out)}
    made = options_of(ChatVectorOptions, options, **fixed, texts=named)
    with folder_lock(made.out, "trainer.chat_vector"):
        return ChatModel(made.out, run_chat_vector(made, console_of(progress)))
