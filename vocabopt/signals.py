"""Ctrl-C, SIGTERM and a closed terminal end a command in the same way: once, with time to clean up.

Libraries in Rust and C call Python inside (numpy's import, a callback), and what a signal raises there comes out as a
panic, as an error of the file being read, or not at all. So a signal once heard is remembered, and whoever takes an
error for a finding asks `end_if_stopped` first.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = tuple(
    number for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)) if number is not None
)


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end. exit_code: 128 and the signal's number, as shells have it (Ctrl-C: 130)."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


class _Heard:
    number: int | None = None


_heard = _Heard()


def hear(number: int) -> None:
    """Remember the first signal."""
    _heard.number = number if _heard.number is None else _heard.number


def heard() -> Stopped | None:
    """What the first signal raises; None while there was none."""
    return None if _heard.number is None else Stopped(_heard.number)


def end_if_stopped(error: BaseException | None = None) -> None:
    """End here if a signal came: between two steps of work, or before `error` is taken for something else.

    What ends things itself (Ctrl-C, an exit, a generator that is closed) is left to its caller.

    Raises:
        Stopped: a signal was heard.
    """
    ends = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
    if not ends and (stop := heard()) is not None:
        raise stop from error


class _Hearing:
    """The first signal is raised, the second says that cleaning is under way, the third ends the process at once.

    Programs that start others often hand a signal on that the terminal has sent to all of them: two are one.
    """

    n_heard = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        hear(number)
        self.n_heard += 1
        if self.n_heard == 1:
            raise Stopped(number)
        if self.n_heard > 2:
            os._exit(128 + number)

    def again(self, unraisable: Any) -> None:
        """Python drops what is raised inside a destructor or a callback; a signal must not be lost there."""
        if isinstance(unraisable.exc_value, Stopped):
            self.n_heard = 0
            signal.raise_signal(unraisable.exc_value.exit_code - 128)
        else:
            sys.__unraisablehook__(unraisable)


def waiting_hears(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Let Ctrl-C end a command's waits and reads (a pipe, workers), which polars, once imported, has begun anew."""

    @functools.wraps(callback)
    def run(*arguments: Any, **options: Any) -> Any:
        import polars

        # Its first call asks Python for numpy; what a signal raises there would come out as a panic.
        polars.Series([0]).to_numpy()
        if hasattr(signal, "siginterrupt"):
            signal.siginterrupt(signal.SIGINT, True)
        return callback(*arguments, **options)

    return run


def hear_signals() -> None:
    """Turn signals into `Stopped` from now on; those that the caller ignores (nohup) stay ignored."""
    hearing = _Hearing()
    sys.unraisablehook = hearing.again
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, hearing)
