"""What a user is told besides results: every error a user can cause or must know of, and notices.

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
    ├── EngineError          workers cannot be started or were lost (what was done is kept)
    ├── RunDirectoryError    the output folder cannot be written, or holds something else
    └── PromiseError         a promise of the tool did not hold (exit code 1)
        └── ForgettingError  a stage forgot more of the base language than the gate allows; its checkpoint is kept

A message names the value, the place (file, line, field) and what to do next. Only the command line (cli/) catches them.

A notice is a thing to know that is no result and no error. Readers of text are called by every command, and by programs
without a console: they log a sentence; a command's console listens and shows the first sentence of each kind. Where
nobody listens, nothing is printed.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

#: What --base takes, in help and in messages.
BASES = (
    "mistral-7b-v1 (built in), a Hugging Face folder or hub id, tokenizer.json, a SentencePiece .model, a tiktoken "
    "rank file, a Tekken .json or a GGUF file"
)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence "Did you mean NAME? " with the nearest of the known names; none where none is near."""
    close = get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]}? " if close else ""


class VocaboptError(Exception):
    """Base of all errors shown to the user as one message."""

    exit_code = 2


class OptionError(VocaboptError): ...


class CorpusError(VocaboptError): ...


class DamagedFileError(CorpusError): ...


class BaseTokenizerError(VocaboptError): ...


class ModelSpecError(VocaboptError): ...


class PlaygroundError(VocaboptError): ...


class ModelError(VocaboptError): ...


class PlanError(VocaboptError): ...


class TrainingError(VocaboptError): ...


class EngineError(VocaboptError): ...


class RunDirectoryError(VocaboptError): ...


class PromiseError(VocaboptError):
    exit_code = 1


class ForgettingError(PromiseError): ...


def quoted(text: str, limit: int) -> str:
    """Text as a message shows it: in quotes, on one line; of a longer one its beginning, and how long it is."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}... ({len(text):,} characters)"


def first_of(names: Sequence[str], most: int = 3) -> str:
    """Names as a message shows them: the first of them, and dots where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def how_to_install(extra: str) -> str:
    """What installs an optional part of vocabopt, as the end of a message. It works in a clone of the project."""
    made = "make setup-train, or " if extra == "train" else ""
    return f"In a clone of vocabopt run {made}python -m pip install -c constraints.txt -e '.[{extra}]'."


# --- Notices ----------------------------------------------------------------------------------------------------------

_LOG = logging.getLogger("vocabopt")


class _Listener(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self.show = show
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        kind = getattr(record, "kind", record.getMessage())
        if kind not in self.told:
            self.told.add(kind)
            self.show(record.getMessage())


def tell(kind: str, sentence: str) -> None:
    """Say something of a kind; of each kind the first sentence is shown."""
    _LOG.info("%s", sentence, extra={"kind": kind})


def listen(show: Callable[[str], None] | None) -> None:
    """Show sentences from now on; an earlier listener hears no more. None: nobody listens."""
    for handler in [handler for handler in _LOG.handlers if isinstance(handler, _Listener)]:
        _LOG.removeHandler(handler)
    if show is not None:
        _LOG.addHandler(_Listener(show))
        _LOG.setLevel(logging.INFO)
