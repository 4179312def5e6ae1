"""Where libraries keep what they make once: compiled kernels (numba), fonts (matplotlib), downloads (huggingface-hub).

They want a folder of the user's and fail, each in its own way, in a container without HOME, under a user without one,
or on a read-only system. Then all of it goes to one folder among the temporary files.
"""

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vocabopt.errors import OptionError
from vocabopt.text.utf8 import printable

#: Folders of compiled functions: numba keeps its cache beside them where it can.
_KERNELS = ("growth", "tokenizer", "preparation", "preparation/steps")
_COMPILED = "NUMBA_CACHE_DIR"


def use_caches() -> str | None:
    """Let this process, and those that it starts, use caches that can be written. Call before numba is imported.

    Returns:
        What to tell the user: that a temporary folder is used, and how to keep what is in it. None where all is well.

    Raises:
        OptionError: there is no folder for temporary files either.
    """
    home = _home()
    home_is_usable = home is not None and _is_writable([home])
    if home is not None and not home_is_usable and os.path.isdir(hub := home / "huggingface"):
        # What is there can still be read: models and tokenizers that an administrator put there.
        os.environ.setdefault("HF_HOME", str(hub))
    compiled = os.environ.get(_COMPILED)
    beside = [Path(__file__).parent / name / "__pycache__" for name in _KERNELS]
    keeps_compiled = _is_writable([Path(compiled)] if compiled else beside)
    keeps_compiled = keeps_compiled or (home_is_usable and not compiled)
    if home_is_usable and keeps_compiled:
        return None
    place = _temporary()
    if not home_is_usable:
        os.environ["XDG_CACHE_HOME"] = str(place)
        os.environ.setdefault("MPLCONFIGDIR", str(place / "matplotlib"))
    if not keeps_compiled:
        os.environ[_COMPILED] = str(place / "numba")
    why = "There is no home folder (HOME)" if home is None else f"{printable(home)}: cannot be written"
    if compiled and not keeps_compiled:
        why = f"{_COMPILED}={compiled} cannot be written"
    kept = "downloads and fonts" if keeps_compiled else "compiled code, which takes a minute to make,"
    name = _COMPILED if compiled and not keeps_compiled else "XDG_CACHE_HOME"
    return (
        f"{why}: {kept} may be lost with the temporary folder {printable(place)}. To keep them, set {name} to a folder "
        "that can be written."
    )


def _home() -> Path | None:
    """The user's folder of caches, as the XDG rules name it; None for a user without a home."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    home = os.path.expanduser("~")
    # Without HOME, and with a user whom the system does not know, it stays as it is.
    return Path(home) / ".cache" if os.path.isabs(home) else None


def _is_writable(folders: Sequence[Path]) -> bool:
    """Try: rights alone do not tell of read-only systems, quotas or the administrator's rights."""
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError:
        return False
    return True


def _temporary() -> Path:
    """A folder of this user alone, the same in the next run; where another user holds its name, one for this run."""
    try:
        folder = Path(tempfile.gettempdir()) / f"vocabopt-cache-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # Compiled code is run: nobody else may have put it there.
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
        if not is_ours:
            folder = Path(tempfile.mkdtemp(prefix="vocabopt-cache-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
    except OSError as error:
        raise OptionError(
            f"No folder can take temporary files ({error.strerror}). Set TMPDIR to one that can be written."
        ) from error
    return folder
