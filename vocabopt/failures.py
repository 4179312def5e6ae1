"""What ends a command and is no fault of the user's text or options: refusals of the system, panics, bugs, signals.

The command line asks `refusal` of every error that nobody expected, and whoever writes files asks it too: so a folder
that may not be entered, a full disk or a link that leads to itself reads the same everywhere. What is left is a fault
of vocabopt (`unexpected`).
"""

import errno
import functools
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from vocabopt import __version__
from vocabopt.errors import BaseTokenizerError, quoted
from vocabopt.text.utf8 import printable

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

#: With this variable set, the traceback of a bug is shown as Python shows it.
TRACEBACK = "VOCABOPT_TRACEBACK"
_N_SHOWN = 300
#: Characters of a document that a message shows.
_SHOWN_CHARS = 80
#: What to do, where the kernel's own words do not say it.
_NEXT_STEP = {
    errno.EACCES: "Give this user the right to it, or name another place.",
    errno.EPERM: "Give this user the right to it, or name another place.",
    errno.EROFS: "Name a place that can be written to.",
    errno.ENOSPC: "Free space on that disk, or name another place.",
    errno.EDQUOT: "Free space within the quota, or name another place.",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or name a place on another file system.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Close other programs, or raise the machine's limit of open files.",
    errno.ENAMETOOLONG: "Name a shorter path.",
    errno.ENOTDIR: "A part of this path is a file, not a folder. Name another.",
    errno.ELOOP: "This link leads to itself. Name what it was to lead to.",
    errno.ENOENT: "Name one that is there.",
    errno.ENOMEM: "Free memory, or use a machine with more.",
    errno.EIO: "The disk, or the connection to it, fails.",
    errno.ESTALE: "The file server lost it. Mount it again.",
    errno.ETIMEDOUT: "Try again, or use a copy on this machine.",
}
#: How libraries in Rust ("(os error 28)") and C++ ("Error #2") hand the kernel's error on.
_WRAPPED = re.compile(r"\(os error (\d+)\)|Error #(\d+)")
#: How sentencepiece names a file that is not there, or not to be read.
_STATUS = re.compile(r"(NOT_FOUND|PERMISSION_DENIED): ")
#: torch's writer of archives keeps no number of what went wrong; it fails so when the disk does.
_TORCH_WRITER = re.compile(r"PytorchStreamWriter failed writing|inline_container\.cc.*unexpected pos")
#: How Path.resolve says ELOOP in Python 3.11 and 3.12.
_LINK_LOOP = re.compile(r"Symlink loop from '(.*)'")
#: Modules whose errors are about a server that does not answer, though not all of them are OSErrors.
_NETWORK = ("httpx", "httpcore", "requests", "urllib3", "aiohttp", "botocore")


def refusal(
    error: BaseException, path: str | os.PathLike[str] | None = None, *, what: str = "cannot be used"
) -> str | None:
    """One sentence and a next step for an error of the operating system; None for an error of another kind.

    Args:
        path: what was being read or written; else what the error itself names, if anything.
        what: "cannot be written", for example: of the path.
    """
    for link in _causes(error):
        if (number := _number(link)) is not None:
            named = path if path is not None else getattr(link, "filename", None)
            if named is None and (loop := _LINK_LOOP.match(str(link))):
                named = loop[1]
            next_step = _NEXT_STEP.get(number, "Name another place, or try again.")
            if named is None:
                return f"{_on_one_line(link)}. {next_step}"
            shown = printable(os.fsdecode(named) if isinstance(named, str | bytes | os.PathLike) else f"file {named}")
            # The error's own words where Python has raised it: ours for a pipe are better than the kernel's.
            reason = link.strerror if isinstance(link, OSError) and link.strerror else os.strerror(number)
            return f"{shown}: {what} ({reason}). {next_step}"
        if (said := _other(link)) is not None:
            return said if path is None else f"{printable(path)}: {what}. {said}"
    return None


def hub_reason(error: Exception) -> str:
    """Why the Hugging Face hub gave no files, and what to do: its client raises a dozen unrelated kinds."""
    kinds = {kind.__name__ for link in _causes(error) for kind in type(link).__mro__}
    if "GatedRepoError" in kinds:
        return "its publisher gives it only to those who accept terms. Accept them on its page and run `hf auth login`."
    if "RepositoryNotFoundError" in kinds:
        return "it holds none of this id, or a private one. Check the id, or run `hf auth login`."
    if "OfflineModeIsEnabled" in kinds or os.environ.get("HF_HUB_OFFLINE"):
        return "HF_HUB_OFFLINE is set, and this machine has no copy of the files. Unset it, or check the id."
    if kinds & {"LocalEntryNotFoundError", "ConnectionError", "ConnectError", "TimeoutException"}:
        return "it cannot be reached, and this machine has no copy of the files. Check the network and the id."
    told = _on_one_line(error).rstrip(".") or type(error).__name__
    return f"{told}. Check the id and the network."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _number(error: BaseException) -> int | None:
    """The kernel's number of an error, whoever wraps it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if found := _WRAPPED.search(str(error)):
        return int(found[1] or found[2])
    if found := _STATUS.match(str(error)):
        return errno.ENOENT if found[1] == "NOT_FOUND" else errno.EACCES
    if isinstance(error, RuntimeError) and _LINK_LOOP.match(str(error)):
        return errno.ELOOP
    return errno.ENOSPC if _TORCH_WRITER.search(str(error)) else None


def _other(error: BaseException) -> str | None:
    """What has no number: memory, names that a library does not take, servers."""
    if isinstance(error, MemoryError):
        return "There is not enough memory. Free some, use less text at once, or use a machine with more."
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        shown = repr(error.object[:_N_SHOWN])
        with suppress(UnicodeEncodeError):  # it came from bytes of the system (a name, an argument): those can be shown
            shown = printable(error.object[:_N_SHOWN])
        return f"{shown}: is not UTF-8. Rename it, or write it in UTF-8."
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _NETWORK:
        return f"{type(error).__name__}: {_on_one_line(error) or 'no more is known'}"
    return None


def _on_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_N_SHOWN]


# --- Panics: how a library written in Rust fails where its authors saw no failure. They are no `Exception` of Python's,
# and the library itself writes what happened to standard error.


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic. Each library has a class of its own for them, which no module holds.

    Once a signal was heard none is one: it may be what the library made of the signal.
    """
    return heard() is None and any(kind.__name__ == "PanicException" for kind in type(error).__mro__)


def is_failure(error: BaseException) -> bool:
    """Whether an error says that the work failed: any `Exception` and a panic, but not Ctrl-C or an exit.

    Once a signal was heard none does.
    """
    return heard() is None and (isinstance(error, Exception) or is_panic(error))


def encoded(
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    source: str,
    *,
    add_special_tokens: bool = False,
    with_offsets: bool = False,
) -> "list[Encoding]":
    """The texts encoded by the `tokenizers` library.

    Args:
        source: what the tokenizer is, for the message.

    Raises:
        BaseTokenizerError: the library panics on a text; the message shows the first such text.
    """
    encode = tokenizer.encode_batch if with_offsets else tokenizer.encode_batch_fast
    try:
        return encode(list(texts), add_special_tokens=add_special_tokens)
    except BaseException as error:
        end_if_stopped(error)
        if not is_panic(error):
            raise
        for text in texts:
            try:
                tokenizer.encode(text, add_special_tokens=add_special_tokens)
            except BaseException as alone:
                if not is_panic(alone):
                    raise
                raise cannot_encode(text, source, alone) from alone
        raise


def cannot_encode(text: str, source: str, error: BaseException) -> BaseTokenizerError:
    """What to say of a text on which the library fails."""
    told = f"{source}: with it the tokenizers library cannot encode the text {quoted(text, _SHOWN_CHARS)} ({error})"
    if "AddedVocabulary" in str(error):
        # A token that takes the white space after it (rstrip), and in it another.
        return BaseTokenizerError(
            f"{told}: one of its added tokens takes in white space that holds another. Remove lstrip and rstrip from "
            "its added tokens, or such text."
        )
    return BaseTokenizerError(f"{told}. Use another tokenizer, or leave such text out.")


# --- Bugs ------------------------------------------------------------------------------------------------------------


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
    return (
        f"{type(error).__name__}: {_on_one_line(error) or 'no more is known'}. This is a fault of vocabopt, not of "
        f"what you gave it. Please report it {kept}. Finished files are kept."
    )


# --- Signals: Ctrl-C, SIGTERM and a closed terminal end a command in the same way: once, with time to clean up.
#
# Libraries in Rust and C call Python inside (numpy's import, a callback), and what a signal raises there comes out as a
# panic, as an error of the file being read, or not at all. So a signal once heard is remembered, and whoever takes an
# error for a finding asks `end_if_stopped` first.

SIGNALS = [number for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)) if number is not None]


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end. exit_code: 128 and the signal's number, as shells have it (Ctrl-C: 130)."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


#: The first signal that was heard.
_heard: list[int] = []


def heard() -> Stopped | None:
    """What the first signal raises; None while there was none."""
    return Stopped(_heard[0]) if _heard else None


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
        _heard.append(number)
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
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, hearing)
