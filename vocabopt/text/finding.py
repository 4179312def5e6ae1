"""Finding files of text: what a path, a pattern or a folder gives.

A folder gives its text files at any depth. Linked folders are followed, each folder is entered once, and the results
of a run that lie among the text are no text. Of a folder that `vocabopt prepare` left the clean text is taken:

OUT/clean/         the text; OUT/removed/ is never read as text
OUT/prepare.json   the funnel; there when the preparation is whole
"""

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vocabopt.amounts import counted
from vocabopt.errors import CorpusError, first_of, tell
from vocabopt.text.storage import STDIN, file_format, reading, remote

#: What a folder gives. Tables and .json lie beside text as often as they hold it: they are read where they are named.
SUFFIXES = ".txt, .jsonl, .ndjson (each also with .gz or .zst) and .parquet"
_IN_FOLDERS = ("text", "jsonl", "parquet")
#: Suffixes of files that may hold text and that a folder does not give.
_MAY_HOLD_TEXT = re.compile(
    r"\.(json|csv|tsv|md|markdown|rst|text|log|tex|srt|xml|html?|arrow|parq)(\.(gz|zst|bz2|xz|zip))?"
    r"|\.(txt|jsonl|ndjson)\.(bz2|xz|zip|7z)",
    re.IGNORECASE,
)
_CHAIN = re.compile(r"((?:[a-z0-9]+::)*)(.*?)((?:::.*)?)", re.DOTALL)  # simplecache::, zip://folder, ::archive.zip

CLEAN, REMOVED, WORK = "clean", "removed", "work"
PREPARE_JSON, OPTIONS_JSON = "prepare.json", "options.json"
#: Files that a command leaves in the folder of its results, which all begin with the version of their format.
_MARKERS = ("run.json", "sensitivity.json", "analyze.json", "compare.json", "adapt.json", "probe.json", PREPARE_JSON)
_BEGINNING = re.compile(rb'\s*\{\s*"format_version":')


class Found(NamedTuple):
    """A file. folder: the first folder between the path given and the file, "" if there is none."""

    url: str
    folder: str
    n_bytes: int | None


def identity(url: str) -> Hashable:
    """The same for all names of one file: links, hard links, other spellings."""
    if url == STDIN or "://" in url:
        return re.sub("/+", "/", url)
    status = _stat(url)
    return (status.st_dev, status.st_ino) if status is not None and status.st_ino else os.path.realpath(url)


def expanded(path: str) -> list[str]:
    """The path, or what it matches as a glob when there is no such file; matches count as named by the user.

    What lies in a folder that matches as well comes with the folder, and is no match of its own.
    """
    path = path.removeprefix("file://")
    if path == STDIN or not glob.has_magic(path) or _info(path) is not None:
        return [path]
    asked_for = _is_hidden(os.path.basename(path))
    matches = _remote_glob(path) if "://" in path else _local_glob(path)
    matches = [match for match in sorted(matches) if asked_for or not _is_hidden(os.path.basename(match))]
    if not matches:
        raise CorpusError(f"{path}: matches no file; names that begin with . or _ are left out")
    if "**" not in path or "://" in path:
        return matches
    folders = {match.rstrip("/") for match in matches if os.path.isdir(match)}
    return [match for match in matches if folders.isdisjoint(_parents(match.rstrip("/")))]


def find(path: str, text_format: str = "auto") -> list[Found]:
    """The file at `path`, or every text file below it, sorted by path; of a prepared folder the clean text.

    text_format: of `ReadOptions`; a folder gives files of this format alone, unless it is "auto".

    Raises:
        CorpusError: it is missing, unreadable, the folder of a run, or holds no text.
    """
    if path == STDIN:
        return [Found(STDIN, "", None)]
    path = clean_folder(path)
    info = _info(path)
    if info is None and os.path.islink(path):
        raise CorpusError(f"{_dead_link(path)} Name another, or mend it.")
    if info is None:
        raise CorpusError(f"{path}: no such file or folder. Check the path.")
    kind, n_bytes = info
    if kind == "other":
        raise CorpusError(f"{path}: neither a file nor a folder; to read a pipe, use - and standard input")
    if kind == "file":
        return [Found(path, "", n_bytes)]
    if "://" not in path and (marker := result_in(path)) is not None:
        raise CorpusError(f"{path}: holds the results of a run ({marker}), which are no text. Leave it out.")
    walk = _Walk(path, (text_format,) if text_format != "auto" else _IN_FOLDERS)
    with reading(path):
        inside = sorted(walk.remote_files() if "://" in path else walk.local_files())
    walk.tell_left_out()
    if not inside:
        looked_for = SUFFIXES if text_format == "auto" else f"files whose suffix says {text_format}"
        raise CorpusError(f"{path}: no text in this folder; looked for {looked_for}. Name a folder or files with text.")
    before, root, after = _links(path)
    root = root if root.endswith("/") else f"{root}/"
    first_folders = (name.partition("/")[0] if "/" in name else "" for name, _ in inside)
    return [Found(before + root + name + after, top, n) for (name, n), top in zip(inside, first_folders, strict=True)]


@dataclass
class _Walk:
    """One folder's files: path inside the folder, and size. formats: those that are taken."""

    root: str
    formats: Sequence[str]
    left_out: list[str] = field(default_factory=list)

    def local_files(self) -> Iterator[tuple[str, int | None]]:
        for folder, folders, names in folders_below(self.root, _is_hidden):
            marker = result_in(folder) if folder != self.root else None
            if marker is not None:
                is_prepared = CLEAN in folders and PREPARE_JSON in names
                folders[:] = [CLEAN] if is_prepared else []
                if not is_prepared:
                    tell(f"results {folder}", f"{folder}: holds the results of a run ({marker}), no text; left out.")
                continue
            for name in filter(self._is_text, names):
                path = os.path.join(folder, name)
                status = _stat(path)
                if status is None and os.path.islink(path):
                    raise CorpusError(f"{_dead_link(path)} Remove it, or mend it.")
                if status is None:
                    raise CorpusError(f"{path}: is gone. Run the command again.")
                if not stat.S_ISREG(status.st_mode):
                    raise CorpusError(f"{path}: is no file; to read a pipe, use - and standard input")
                yield os.path.relpath(path, self.root), status.st_size

    def remote_files(self) -> Iterator[tuple[str, int | None]]:
        filesystem, start = remote(self.root)
        root = None  # as the file system spells it, which need not be as the URL does
        for folder, folders, files in filesystem.walk(start, detail=True, on_error="raise"):
            for name in [name for name in folders if _is_hidden(name)]:
                del folders[name]
            root = folder if root is None else root
            inside = folder.removeprefix(root).strip("/")
            for name, info in files.items():
                if self._is_text(name):
                    yield f"{inside}/{name}".lstrip("/"), info.get("size")

    def _is_text(self, name: str) -> bool:
        if _is_hidden(name):
            return False
        if file_format(name)[0] in self.formats:
            return True
        if _MAY_HOLD_TEXT.search(name) or file_format(name)[0] != "":
            self.left_out.append(name)
        return False

    def tell_left_out(self) -> None:
        """Name files that may hold text and are not taken."""
        if n := len(self.left_out):
            shown = first_of(sorted(self.left_out))
            left_out = f"{counted(n, 'file')} that may hold text {'is' if n == 1 else 'are'} left out"
            tell(
                f"left out of {self.root}",
                f"{self.root}: {left_out} ({shown}); a folder gives "
                f"{SUFFIXES}. Name {'it to read it' if n == 1 else 'them to read them'}.",
            )


# --- Paths -----------------------------------------------------------------------------------------------------------


def folders_below(root: str, is_hidden: Callable[[str], bool]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Every folder from `root` down, its folders and its files, as os.walk gives them; linked folders are followed.

    Each folder comes once: those that lie in the root first, so that links to them, or in circles, add nothing. A link
    to a folder above the root leads in a circle as well, and is not followed.
    """

    def fail(error: OSError) -> None:  # os.walk skips what it cannot list, and text would go missing
        raise error

    entered: set[Hashable] = {identity(above) for above in ("/", *_parents(os.path.realpath(root)))} - {identity(root)}
    pending = [root]
    while pending:
        for folder, folders, names in os.walk(pending.pop(0), onerror=fail):
            if identity(folder) in entered:
                leads_to = "a folder above it, or to one that is read anyway"
                tell(f"entered {folder}", f"{folder}: leads back to {leads_to}; left out.")
                folders.clear()
                continue
            entered.add(identity(folder))
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            yield folder, folders, sorted(names)
            pending += [path for name in folders if os.path.islink(path := os.path.join(folder, name))]


def _local_glob(path: str) -> list[str]:
    """As glob.glob, but that ** enters no folder twice: its own follows links that lead in circles."""
    before, stars, rest = path.partition("**")
    if not stars or before[-1:] not in ("", "/") or rest[:1] not in ("", "/"):
        return glob.glob(path)
    pattern = ["**", *filter(None, rest.split("/"))]
    found: list[str] = []
    for root in glob.glob(before) if before else [""]:
        if len(pattern) == 1:
            found.append(root or ".")
        for folder, folders, names in folders_below(root or ".", lambda name: name.startswith(".")):
            inside = os.path.relpath(folder, root or ".")
            parts = [] if inside == "." else inside.split("/")
            for name in [*folders, *(names if not rest.endswith("/") else [])]:
                if not name.startswith(".") and _matches([*parts, name], pattern):
                    found.append(root + "/".join([*parts, name]))
    return found


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path are those of a pattern, in which ** stands for any number of them."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _parents(path: str) -> Iterator[str]:
    while "/" in path.strip("/"):
        path = path.rpartition("/")[0]
        yield path


def _remote_glob(url: str) -> list[str]:
    with reading(url):
        filesystem, path = remote(url)
        before, link, after = _links(url)
        scheme = link.partition("://")[0]
        return [f"{before}{m if '://' in m else f'{scheme}://{m}'}{after}" for m in filesystem.glob(path)]


def _links(url: str) -> tuple[str, str, str]:
    """A chained URL in three parts, the path in the middle one; a plain URL or path is all middle."""
    match = _CHAIN.fullmatch(url) if "://" in url else None
    return (match[1], match[2], match[3]) if match else ("", url, "")


def _info(path: str) -> tuple[Literal["file", "directory", "other"], int | None] | None:
    """What is at `path` and how large it is in bytes, None if there is nothing."""
    with reading(path):
        if "://" in path:
            try:
                filesystem, inside = remote(path)
                info: dict[str, Any] = filesystem.info(inside)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return ("directory" if info["type"] == "directory" else "file"), info.get("size")
        status = _stat(path)
    if status is None:
        return None
    if stat.S_ISDIR(status.st_mode):
        return "directory", None
    return ("file" if stat.S_ISREG(status.st_mode) else "other"), status.st_size


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _dead_link(path: str) -> str:
    return f"{path}: is a link to what is not there: {os.readlink(path)}."


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


# --- Folders of results -----------------------------------------------------------------------------------------------


def result_in(folder: str) -> str | None:
    """The name of the file that marks a folder as the results of a run of ours; None where there is none."""
    for name in _MARKERS:
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as file:
                if _BEGINNING.match(file.read(100)):
                    return name
        except OSError:
            continue
    return None


def clean_folder(path: str) -> str:
    """The clean text of a prepared folder; any other path is its own.

    Raises:
        CorpusError: the preparation is not finished.
    """
    folder = Path(path)
    if "://" in path or not folder.is_dir():
        return path
    if (folder / PREPARE_JSON).is_file() and (folder / CLEAN).is_dir():
        return str(folder / CLEAN)
    if (folder / PREPARE_JSON).is_file() and (folder / OPTIONS_JSON).is_file():
        raise CorpusError(
            f"{path}: holds a preparation whose {CLEAN}/ is gone. Prepare the text again, into a new folder."
        )
    if (folder / WORK).is_dir() and (folder / OPTIONS_JSON).is_file():
        raise CorpusError(f"{path}: holds a preparation that is not finished. Run `vocabopt prepare` again to go on.")
    return path
