"""Every error a user can cause or must know of. Only the command line (cli/) catches them.

    VocaboptError            exit code 2
    ├── OptionError          an option's value cannot be used
    ├── CorpusError          the text cannot be found, opened, decoded or learned from
    │   └── DamagedFileError a compressed file ends early or is damaged; what comes before can be read
    ├── BaseTokenizerError   the base tokenizer cannot be loaded, or is of a kind that cannot be grown
    ├── ModelSpecError       the model's config.json is missing, unreadable or lacks a field
    ├── PlaygroundError      the report's playground cannot repeat a part of the base; the report is made without it
    ├── ModelError           a model's weights cannot be loaded, or do not fit the tokenizer
    ├── PlanError            a training plan cannot be used
    ├── TrainingError        training stopped: the loss is not a number, no memory, no disk (what was done is kept)
    ├── RunDirectoryError    the output folder cannot be written, or holds something else
    └── PromiseError         a promise of the tool did not hold (exit code 1)
        └── ForgettingError  a stage forgot more of the base language than the gate allows; its checkpoint is kept

A message names the value, the place (file, line, field) and what to do next.
"""

from collections.abc import Iterable
from difflib import get_close_matches

#: What --base takes, in help and in messages.
BASES = (
    "mistral-7b-v1 (built in), a Hugging Face folder or hub id, tokenizer.json, a SentencePiece .model, a tiktoken "
    "rank file or a Tekken .json"
)


def how_to_install(extra: str) -> str:
    """What installs an optional part of vocabopt, as the end of a message. It works in a clone of the project."""
    made = "make setup-train, or " if extra == "train" else ""
    return f"In a clone of vocabopt run {made}python -m pip install -c constraints.txt -e '.[{extra}]'."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence "Did you mean NAME? " with the nearest of the known names; none where none is near."""
    close = get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]}? " if close else ""


class VocaboptError(Exception):
    """Base of all errors shown to the user as one message."""

    exit_code = 2


class OptionError(VocaboptError):
    """An option's value cannot be used."""


class CorpusError(VocaboptError):
    """The text cannot be found, opened, decoded or learned from."""


class DamagedFileError(CorpusError):
    """A compressed file of text ends early or is damaged; what comes before that place can be read."""


class BaseTokenizerError(VocaboptError):
    """The base tokenizer cannot be loaded, or is of a kind that cannot be grown."""


class ModelSpecError(VocaboptError):
    """The model's config.json is missing, unreadable or lacks a field."""


class PlaygroundError(VocaboptError):
    """The report's playground cannot repeat a part of the base tokenizer exactly; the report is made without it."""


class ModelError(VocaboptError):
    """A model's weights cannot be loaded, or do not fit the tokenizer."""


class PlanError(VocaboptError):
    """A training plan cannot be used."""


class TrainingError(VocaboptError):
    """Training stopped: the loss is not a number, no memory, no disk. What was done before is kept."""


class RunDirectoryError(VocaboptError):
    """The output folder cannot be written, or holds something else."""


class PromiseError(VocaboptError):
    """A promise of the tool did not hold; the result must not be used."""

    exit_code = 1


class ForgettingError(PromiseError):
    """A stage forgot more of the base language than the gate allows. Its checkpoint is kept."""


def quoted(text: str, limit: int) -> str:
    """Text as a message shows it: in quotes, on one line; of a longer one its beginning, and how long it is."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}... ({len(text):,} characters)"
