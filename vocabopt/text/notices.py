"""Things to know of the text that are no result and no error, told from where there is no console.

Readers and finders of text are called by every command, and by programs without one. They log a sentence; a command's
console listens and shows the first sentence of each kind. Where nobody listens, nothing is printed.
"""

import logging
from collections.abc import Callable

_LOG = logging.getLogger("vocabopt")
_KIND = "vocabopt_kind"


class _Listener(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self.show = show
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        kind = getattr(record, _KIND, record.getMessage())
        if kind not in self.told:
            self.told.add(kind)
            self.show(record.getMessage())


def tell(kind: str, sentence: str) -> None:
    """Say something of a kind; of each kind the first sentence is shown."""
    _LOG.info("%s", sentence, extra={_KIND: kind})


def listen(show: Callable[[str], None]) -> None:
    """Show sentences from now on; an earlier listener hears no more."""
    silence()
    _LOG.addHandler(_Listener(show))
    _LOG.setLevel(logging.INFO)


def silence() -> None:
    """Nobody listens any more."""
    for handler in [handler for handler in _LOG.handlers if isinstance(handler, _Listener)]:
        _LOG.removeHandler(handler)
