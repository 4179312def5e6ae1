"""Whether a signal asked this process to end. Once heard it stays true, whatever a library makes of it on its way.

Libraries in Rust and C call Python inside (numpy's import, a callback), and what a signal raises there comes out as a
panic, as an error of the file being read, or not at all. So whoever takes an error for a finding asks first.
"""


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
