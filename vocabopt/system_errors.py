"""What the operating system refuses, in our words, whoever met it first: Python, or a library that wraps it.

The command line asks `refusal` of every error that nobody expected, and whoever writes files asks it too: so a folder
that may not be entered, a full disk or a link that leads to itself reads the same everywhere.
"""

import errno
import os
import re
from collections.abc import Iterator

from vocabopt.text.utf8 import printable

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
_N_SHOWN = 300


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
            shown = " ".join(str(link).split())[:_N_SHOWN] if named is None else printable(_text(named))
            reason, next_step = _reason(link, number), _NEXT_STEP.get(number, "Name another place, or try again.")
            return f"{shown}. {next_step}" if named is None else f"{shown}: {what} ({reason}). {next_step}"
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
    told = " ".join(str(error).split())[:_N_SHOWN].rstrip(".") or type(error).__name__
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


def _reason(error: BaseException, number: int) -> str:
    """The error's own words where Python has raised it: ours for a pipe are better than the kernel's."""
    return error.strerror if isinstance(error, OSError) and error.strerror else os.strerror(number)


def _other(error: BaseException) -> str | None:
    """What has no number: memory, names that a library does not take, servers."""
    if isinstance(error, MemoryError):
        return "There is not enough memory. Free some, use less text at once, or use a machine with more."
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        value = error.object[:_N_SHOWN]
        return f"{printable(value) if _is_name(value) else repr(value)}: is not UTF-8. Rename it, or write it in UTF-8."
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _NETWORK:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:_N_SHOWN] or 'no more is known'}"
    return None


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else f"file {name}"


def _is_name(text: str) -> bool:
    """Whether it came from bytes of the system (a name, an argument): then those can be shown."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
