"""What `vocabopt` and `python -m vocabopt` start. It imports nothing, so that Ctrl-C is heard early."""

import os
import signal
import sys
from types import FrameType


def run() -> None:
    """The command line. While Python still imports it, Ctrl-C and SIGTERM end the process at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)
    from vocabopt.cli import run as run_command

    run_command()


def _leave(number: int, frame: FrameType | None) -> None:
    # Nothing has begun. An exception would be taken for a failed import by the libraries that are being imported.
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"Interrupted. Nothing was begun.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    run()
