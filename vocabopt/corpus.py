"""Finding text: from the paths a user wrote to named text sets, of which one is learned from."""

import glob
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import xxhash

from vocabopt.errors import CorpusError, OptionError
from vocabopt.prepared import clean_folder
from vocabopt.readers import ReadOptions, read_blocks
from vocabopt.scripts import dominant_script
from vocabopt.storage import STDIN, file_format, open_stored, reading, remote

Role: TypeAlias = Literal["train", "protected", "eval"]

SUFFIXES = ".txt, .jsonl, .ndjson (each also with .gz or .zst) and .parquet"
ONLY_SET = "text"  # the name of the set when no folder names a language

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CHAIN = re.compile(r"((?:[a-z0-9]+::)*)(.*?)((?:::.*)?)", re.DOTALL)  # simplecache::, zip://folder, ::archive.zip
_RESERVED_NAMES = ("train", "heldout")
# Where file systems keep what changes with a file's content, the surest first.
_REMOTE_IDENTITY = ("ETag", "etag", "blob_id", "md5Hash", "content_md5", "LastModified", "mtime", "created")
_N_SAMPLE_FILES = 4
_SAMPLE_BYTES = 64 << 10  # per file; characters are cut at the same number


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A file of text: n_bytes is its stored (compressed) size, None when unknown, as for standard input ("-")."""

    url: str
    text_set: str
    n_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class TextSet:
    """Files counted together. The one "train" set is learned from; no merge may change the "protected" ones."""

    name: str
    role: Role
    files: tuple[TextFile, ...]


class _Found(NamedTuple):
    url: str
    folder: str  # the first folder between the path given and the file, "" if there is none
    n_bytes: int | None


def find_text_sets(
    paths: Sequence[str],
    *,
    target: str | None,
    evals: Mapping[str, str],
    protects: Mapping[str, str],
    options: ReadOptions | None = None,
) -> tuple[TextSet, ...]:
    """The text sets in `paths`, the train set first, the others, with those of `evals` and `protects`, by name.

    Sub-folders named by language make a set each, merged over all paths; all else is the set "text". The train set is
    `target`, or the only set, or the only one whose script is not Latin; `options` says how to read text for that.

    Raises:
        CorpusError: a path is missing, unreadable or holds no text.
        OptionError: a file is named twice, a name is taken or cannot be used, or the target is not there or not clear.
    """
    if not paths:
        raise OptionError("no text given: name a file, a folder, or - for standard input")
    found: dict[str, list[_Found]] = {}
    for path in paths:
        for name, files in _by_language(path).items():
            found.setdefault(name, []).extend(files)
    seen: set[str] = set()
    for url in (file.url for files in found.values() for file in files):
        identity = re.sub("/+", "/", url) if url == STDIN or "://" in url else os.path.realpath(url)
        if identity in seen:
            raise OptionError(f"{url}: this file is named twice; name each file once")
        seen.add(identity)
    sets = {name: _text_set(name, "protected", files) for name, files in found.items()}
    train = _choose_target(sets, target, options or ReadOptions())
    sets[train] = replace(sets[train], role="train")
    others: tuple[tuple[Role, str, Mapping[str, str]], ...]
    others = (("eval", "--eval", evals), ("protected", "--protect", protects))
    for role, option, named in others:
        for name, path in named.items():
            _check_name(name, f"{option} {name}={path}", sets)
            sets[name] = named_set(name, path, role)
    return (sets.pop(train), *(sets[name] for name in sorted(sets)))


def named_set(name: str, path: str, role: Role) -> TextSet:
    """The text files at one path, or that match it as a glob, as a set of that name.

    Raises:
        CorpusError: the path is missing, unreadable or holds no text.
    """
    return _text_set(name, role, [file for match in _expanded(path) for file in _find(match)])


def corpus_set(name: str, path: str) -> TextSet:
    """The text at one path as a set to learn from, under a name that can stand in columns and file names.

    Raises:
        OptionError: the name cannot be used. CorpusError: as `named_set`.
    """
    _check_name(name, f"{name}={path}", {})
    # Its role here is that of any named set: what is learned from is decided by who asks.
    return named_set(name, path, "eval")


def n_stored_bytes(text_sets: Sequence[TextSet]) -> int | None:
    """Stored bytes of all files; None where a size is not known."""
    sizes = [file.n_bytes for text_set in text_sets for file in text_set.files]
    return None if None in sizes else sum(size or 0 for size in sizes)


def fingerprint(file: TextFile) -> str:
    """Identity of a file's content: xxh3_128 of its stored bytes; for a remote file, what its file system keeps.

    Raises:
        CorpusError: the file cannot be read.
    """
    if "://" not in file.url:
        digest = xxhash.xxh3_128()
        with open_stored(file.url) as stored, reading(file.url):
            while data := stored.read(1 << 20):
                digest.update(data)
        return str(digest.hexdigest())
    with reading(file.url):
        filesystem, path = remote(file.url)
        info = filesystem.info(path)
        kept = next((f"{info.get('size')} {info[key]}" for key in _REMOTE_IDENTITY if info.get(key)), None)
        return str(xxhash.xxh3_128_hexdigest(f"{file.url} {kept or filesystem.ukey(path)}".encode()))


def _text_set(name: str, role: Role, found: Sequence[_Found]) -> TextSet:
    files = tuple(TextFile(url=file.url, text_set=name, n_bytes=file.n_bytes) for file in found)
    return TextSet(name=name, role=role, files=files)


def _check_name(name: str, option: str, sets: Mapping[str, TextSet]) -> None:
    if not _NAME.fullmatch(name):
        raise OptionError(f"{option}: a name is made of A-Z a-z 0-9 _ . - and begins with a letter or digit")
    if name in _RESERVED_NAMES:
        raise OptionError(f"{option}: the name {name} is kept for a part of the target; choose another")
    if name in sets:
        raise OptionError(f"{option}: there is a text set {name} already; choose another name")


def _choose_target(sets: Mapping[str, TextSet], target: str | None, options: ReadOptions) -> str:
    if target is not None:
        if target not in sets:
            raise OptionError(f"--target {target}: no such text set; there are {', '.join(sorted(sets))}")
        return target
    if len(sets) == 1:
        return next(iter(sets))
    scripts = {name: dominant_script(_sample(sets[name].files, options)) for name in sorted(sets)}
    candidates = [name for name, script in scripts.items() if script not in (None, "Latin")]
    if len(candidates) != 1:
        listed = ", ".join(f"{name} ({script or 'no letters'})" for name, script in scripts.items())
        raise OptionError(f"cannot tell which text set to learn from: {listed}; name it with --target")
    return candidates[0]


def _sample(files: Sequence[TextFile], options: ReadOptions) -> str:
    """Some text from the beginning of a few files; what cannot be read is left out, to be reported when it is read."""
    lenient = replace(options, unit="line", on_error="skip")
    text = ""
    for file in files[:_N_SAMPLE_FILES]:
        block = next(read_blocks(file, lenient, block_bytes=_SAMPLE_BYTES), None)
        text += "" if block is None else "\n".join(block.documents)[:_SAMPLE_BYTES]
    return text


# --- Paths -----------------------------------------------------------------------------------------------------------


def _by_language(path: str) -> dict[str, list[_Found]]:
    """The files of one path by text set."""
    sets: dict[str, list[_Found]] = {}
    for match in _expanded(path):
        found = _find(match)
        languages = sorted({file.folder for file in found if _LANGUAGE.fullmatch(file.folder)})
        strays = [file.url for file in found if file.folder not in languages] if languages else []
        if strays:
            listed = ", ".join(strays[:5]) + (f" and {len(strays) - 5} more" if len(strays) > 5 else "")
            raise OptionError(
                f"{match}: has a folder per language ({', '.join(languages)}), so these files belong to no text set; "
                f"move them into one of them or out of here: {listed}"
            )
        for file in found:
            sets.setdefault(file.folder if languages else ONLY_SET, []).append(file)
    return sets


def _expanded(path: str) -> list[str]:
    """The path, or what it matches as a glob when there is no such file; matches count as named by the user."""
    path = path.removeprefix("file://")
    if path == STDIN or not glob.has_magic(path) or _info(path) is not None:
        return [path]
    matches = _remote_glob(path) if "://" in path else glob.glob(path, recursive=True)
    asked_for = _is_hidden(os.path.basename(path))
    matches = [match for match in sorted(matches) if asked_for or not _is_hidden(os.path.basename(match))]
    if not matches:
        raise CorpusError(f"{path}: matches no file; names that begin with . or _ are left out")
    return matches


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


def _find(path: str) -> list[_Found]:
    """The file at `path`, or every text file below it, sorted by path; of a prepared folder the clean text."""
    if path == STDIN:
        return [_Found(STDIN, "", None)]
    path = clean_folder(path)
    info = _info(path)
    if info is None:
        raise CorpusError(f"{path}: no such file or folder. Check the path.")
    kind, n_bytes = info
    if kind == "other":
        raise CorpusError(f"{path}: neither a file nor a folder; to read a pipe, use - and standard input")
    if kind == "file":
        return [_Found(path, "", n_bytes)]
    with reading(path):
        inside = sorted(_walk_remote(path) if "://" in path else _walk_local(path))
    if not inside:
        raise CorpusError(f"{path}: no text in this folder; looked for {SUFFIXES}")
    before, root, after = _links(path)
    root = root if root.endswith("/") else f"{root}/"
    first_folders = (name.partition("/")[0] if "/" in name else "" for name, _ in inside)
    return [_Found(before + root + name + after, top, n) for (name, n), top in zip(inside, first_folders, strict=True)]


def _info(path: str) -> tuple[Literal["file", "directory", "other"], int | None] | None:
    """What is at `path` and how large it is in bytes, None if there is nothing."""
    with reading(path):
        try:
            if "://" in path:
                filesystem, inside = remote(path)
                info: dict[str, Any] = filesystem.info(inside)
                return ("directory" if info["type"] == "directory" else "file"), info.get("size")
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
    if stat.S_ISDIR(status.st_mode):
        return "directory", None
    return ("file" if stat.S_ISREG(status.st_mode) else "other"), status.st_size


def _walk_local(root: str) -> Iterator[tuple[str, int | None]]:
    """Path inside `root` and size of every text file; linked folders are followed."""

    def fail(error: OSError) -> None:  # os.walk skips what it cannot list, and text would go missing
        raise error

    for folder, folders, names in os.walk(root, onerror=fail, followlinks=True):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for path in (os.path.join(folder, name) for name in names if _is_text(name)):
            yield os.path.relpath(path, root), os.stat(path).st_size


def _walk_remote(url: str) -> Iterator[tuple[str, int | None]]:
    filesystem, start = remote(url)
    root = None  # as the file system spells it, which need not be as the URL does
    for folder, folders, files in filesystem.walk(start, detail=True, on_error="raise"):
        for name in [name for name in folders if _is_hidden(name)]:
            del folders[name]
        root = folder if root is None else root
        inside = folder.removeprefix(root).strip("/")
        for name, info in files.items():
            if _is_text(name):
                yield f"{inside}/{name}".lstrip("/"), info.get("size")


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _is_text(name: str) -> bool:
    return not _is_hidden(name) and file_format(name)[0] != ""
