"""The last resort: an error that nobody expected is a fault of ours, told in one sentence, its traceback kept."""

import os
import sys
import tempfile
import traceback

from vocabopt import __version__

#: With this variable set, the traceback is shown as Python shows it.
TRACEBACK = "VOCABOPT_TRACEBACK"
_N_SHOWN = 300


def unexpected(error: BaseException) -> str:
    """What to say of the error; its traceback goes into a file among the temporary ones.

    Raises:
        BaseException: the error itself, where VOCABOPT_TRACEBACK is set.
    """
    if os.environ.get(TRACEBACK):
        raise error
    head = f"vocabopt {__version__}, Python {sys.version.split()[0]}: {sys.argv!r}\n\n"
    trace = head + "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="vocabopt-fault-", suffix=".txt", delete=False) as file:
            file.write(trace.encode("utf-8", "backslashreplace"))
        kept = f"with {file.name}, which says where"
    except OSError:
        kept = f"with what {TRACEBACK}=1 in front of the command shows"
    message = " ".join(str(error).split())[:_N_SHOWN]
    return (
        f"{type(error).__name__}: {message or 'no more is known'}. This is a fault of vocabopt, not of what you gave "
        f"it. Please report it {kept}. Finished files are kept."
    )
