"""Text sets: from the paths a user wrote to named sets of files, of which one or several are learned from."""

import re
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType
from typing import Literal, TypeAlias

import xxhash

from vocabopt.errors import OptionError, first_of, tell
from vocabopt.text.finding import Found, expanded, find, identity
from vocabopt.text.readers import ReadOptions, read_blocks
from vocabopt.text.scripts import dominant_script, language_of
from vocabopt.text.sets import ALIGNED, HELDOUT, TRAIN, WEIGHTED, set_of
from vocabopt.text.storage import open_stored, reading, remote

Role: TypeAlias = Literal["train", "protected", "eval", "kept"]

ONLY_SET = "text"  # the name of the set when no folder names a language

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Where file systems keep what changes with a file's content, the surest first.
_REMOTE_IDENTITY = ("ETag", "etag", "blob_id", "md5Hash", "content_md5", "LastModified", "mtime", "created")
_N_SAMPLE_FILES = 4
_N_SAMPLE_FOLDERS = 20  # of which the script is looked at
_SAMPLE_BYTES = 64 << 10  # per file; characters are cut at the same number


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A file of text: n_bytes is its stored (compressed) size, None when unknown, as for standard input ("-")."""

    url: str
    text_set: str
    n_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class TextSet:
    """Files counted together. "train" sets, the targets, are learned from; no merge may change the "protected" ones;
    rows are swapped with an eye on the "kept" ones.

    is_one_of_several: there are other targets.
    """

    name: str
    role: Role
    files: tuple[TextFile, ...]
    is_one_of_several: bool = False

    @property
    def counted_as(self) -> str:
        """Its name where it is counted: train, or train_ko where there are other targets."""
        return self._part(TRAIN) if self.role == "train" else self.name

    @property
    def heldout_as(self) -> str | None:
        """The set that takes what is held out of it."""
        return self._part(HELDOUT) if self.role == "train" else None

    def _part(self, part: str) -> str:
        return set_of(part, self.name) if self.is_one_of_several else part


def counted_sets(text_sets: Sequence[TextSet]) -> tuple[dict[str, str], dict[str, str]]:
    """The sets that are counted: name -> role, the targets first, then what is held out of each; and set -> held-out
    set."""
    heldout_of = {one.counted_as: one.heldout_as for one in text_sets if one.heldout_as is not None}
    roles = dict.fromkeys(heldout_of, "train") | dict.fromkeys(heldout_of.values(), "heldout")
    return roles | {one.name: one.role for one in text_sets if one.role != "train"}, heldout_of


def find_text_sets(
    paths: Sequence[str],
    *,
    target: str | None,
    evals: Mapping[str, str],
    protects: Mapping[str, str],
    texts: Mapping[str, str] = MappingProxyType({}),
    aligned: Mapping[str, str] = MappingProxyType({}),
    keeps: Mapping[str, str] = MappingProxyType({}),
    options: ReadOptions | None = None,
) -> tuple[TextSet, ...]:
    """The text sets in `paths`, the train sets first, the others, with those that are named apart, by name.

    Sub-folders named by language make a set each, named by its shortest code and merged over all paths; all else is
    the set "text". The train sets are those named in `target`, with commas, and `texts`; else the only set, or the only
    one whose script is not Latin; `options` says how to read text for that. Aligned text of ko is the set aligned_ko.

    Raises:
        CorpusError: a path is missing, unreadable or holds no text.
        OptionError: a file is named twice, a name is taken or cannot be used, or a target is not there or not clear.
    """
    if not paths and not texts:
        raise OptionError("no text given: name a file, a folder, or - for standard input")
    options = options or ReadOptions()
    found: dict[str, list[Found]] = {}
    for path in paths:
        for name, files in _by_language(path, options).items():
            found.setdefault(name, []).extend(files)
    _refuse_twice(file.url for files in found.values() for file in files)
    sets = {name: _text_set(name, "protected", files) for name, files in found.items()}
    for name, path in texts.items():
        _check_name(name, f"--text {name}={path}", sets)
        sets[name] = named_set(name, path, "train", options)
    if texts and target is None and ONLY_SET in found:
        raise OptionError(
            f"{found[ONLY_SET][0].url}: is in no folder that is named by a language, and --text {min(texts)} names the "
            f"target. Name this text too (--text NAME=PATH to learn from it, --protect or --eval), or add --target "
            f"{ONLY_SET}."
        )
    targets = _choose_targets(sets, target, texts, options)
    for name in targets:
        sets[name] = replace(sets[name], role="train", is_one_of_several=len(targets) > 1)
    taken = {WEIGHTED, *(set_of(part, name) for name in targets for part in (TRAIN, HELDOUT))} if targets[1:] else {}
    others: tuple[tuple[Role, str, Mapping[str, str]], ...]
    others = (("eval", "--eval", evals), ("protected", "--protect", protects), ("kept", "--keep", keeps))
    others += (("eval", "--aligned", aligned),)
    for role, option, named in others:
        for given, path in named.items():
            name = set_of(ALIGNED, given) if option == "--aligned" else given
            _check_name(name, f"{option} {given}={path}", sets, taken)
            sets[name] = named_set(name, path, role, options)
    text_sets = (*(sets.pop(name) for name in targets), *(sets[name] for name in sorted(sets)))
    tell_shared(text_sets)
    return text_sets


def named_set(name: str, path: str | Sequence[str], role: Role, options: ReadOptions | None = None) -> TextSet:
    """The text files at a path, or several, or that match it as a glob, as one set; `options` says how it is read.

    Raises:
        CorpusError: the path is missing, unreadable or holds no text. OptionError: a file comes under two names.
    """
    text_format = "auto" if options is None else options.format
    paths = (path,) if isinstance(path, str) else path
    found = [file for path in paths for match in expanded(path) for file in find(match, text_format)]
    _refuse_twice(file.url for file in found)
    return _text_set(name, role, found)


def corpus_set(name: str, path: str, options: ReadOptions | None = None) -> TextSet:
    """The text at one path as a set to learn from, under a name that can stand in columns and file names.

    Raises:
        OptionError: the name cannot be used. CorpusError: as `named_set`.
    """
    _check_name(name, f"{name}={path}", {})
    # Its role here is that of any named set: what is learned from is decided by who asks.
    return named_set(name, path, "eval", options)


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


def _text_set(name: str, role: Role, found: Sequence[Found]) -> TextSet:
    files = tuple(TextFile(url=file.url, text_set=name, n_bytes=file.n_bytes) for file in found)
    return TextSet(name=name, role=role, files=files)


def _check_name(name: str, option: str, sets: Mapping[str, TextSet], taken: Collection[str] = ()) -> None:
    if not _NAME.fullmatch(name):
        raise OptionError(f"{option}: a name is made of A-Z a-z 0-9 _ . - and begins with a letter or digit")
    if name in (TRAIN, HELDOUT) or name in taken:
        raise OptionError(f"{option}: the name {name} is kept for a part of the target; choose another")
    if name in sets:
        raise OptionError(f"{option}: there is a text set {name} already; choose another name")


def _choose_targets(
    sets: Mapping[str, TextSet], target: str | None, texts: Collection[str], options: ReadOptions
) -> list[str]:
    """The names of the targets, sorted, so that the order in which they were given moves nothing."""
    if target is not None and not all(name.strip() for name in target.split(",")):
        raise OptionError(f"--target {target}: a name is missing. Write names with a comma between them: ko,ja")
    named = [_target_of(sets, name.strip()) for name in (target or "").split(",")] if target is not None else []
    if twice := [name for name in {*named} if named.count(name) > 1]:
        raise OptionError(f"--target {target}: names {min(twice)} twice. Name each target once.")
    return sorted({*named, *texts}) or [_only_target(sets, options)]


def _target_of(sets: Mapping[str, TextSet], target: str) -> str:
    target = target if target in sets else language_of(target) or target
    if target not in sets:
        known = f"there are {', '.join(sorted(sets))}" if len(sets) > 1 else f"the only one is {next(iter(sets))}"
        raise OptionError(
            f"--target {target}: no such text set; {known}. A sub-folder that is named by a language "
            f"(ko/, en/) makes a text set of that name; all other text is the set {ONLY_SET}."
        )
    return target


def _only_target(sets: Mapping[str, TextSet], options: ReadOptions) -> str:
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


def _by_language(path: str, options: ReadOptions) -> dict[str, list[Found]]:
    """The files of one path by text set."""
    sets: dict[str, list[Found]] = {}
    for match in expanded(path):
        found = find(match, options.format)
        languages = {file.folder: language for file in found if (language := language_of(file.folder)) is not None}
        strays = [file.url for file in found if file.folder not in languages] if languages else []
        if strays:
            listed = ", ".join(strays[:5]) + (f" and {len(strays) - 5} more" if len(strays) > 5 else "")
            raise OptionError(
                f"{match}: has a folder per language ({', '.join(sorted(languages))}), so these files belong to no "
                f"text set; move them into one of them or out of here: {listed}"
            )
        if not languages:
            _tell_joined(match, found, options)
        for file in found:
            sets.setdefault(languages.get(file.folder, ONLY_SET), []).append(file)
    return sets


def _tell_joined(path: str, found: Sequence[Found], options: ReadOptions) -> None:
    """Say it where sub-folders that no language names become one set, and are not written alike.

    Some text of the first files of the first sub-folders is looked at; of remote folders none.
    """
    first: dict[str, Found] = {}
    for file in found:
        if file.folder and "://" not in file.url:
            first.setdefault(file.folder, file)
    if len(first) < 2:
        return
    scripts: dict[str, list[str]] = {}
    for folder, file in islice(first.items(), _N_SAMPLE_FOLDERS):
        if script := dominant_script(_sample(_text_set(ONLY_SET, "eval", [file]).files, options)):
            scripts.setdefault(script, []).append(folder)
    if len(scripts) > 1:
        listed = "; ".join(f"{script}: {first_of(folders)}" for script, folders in scripts.items())
        tell(
            f"joined {path}",
            f"{path}: its sub-folders are not named by languages, so all are the one text set {ONLY_SET}, though "
            f"they begin in different scripts ({listed}). To keep them apart name them by language (ko/, en/).",
        )


def _refuse_twice(files: Iterable[str]) -> None:
    """Within a set each file counts once: one that comes under two names is refused."""
    seen: dict[Hashable, str] = {}
    for url in files:
        if (key := identity(url)) in seen:
            known = "" if seen[key] == url else f" (it is {seen[key]})"
            raise OptionError(f"{url}: this file is named twice{known}; name each file once")
        seen[key] = url


def tell_shared(text_sets: Sequence[TextSet]) -> None:
    """Say it where a file is in two sets: what is learned from it is then measured on it, or protected from it."""
    owners: dict[Hashable, TextSet] = {}
    for text_set in text_sets:
        for file in text_set.files:
            owner = owners.setdefault(identity(file.url), text_set)
            if owner.name != text_set.name:
                shared = f"is text of the set {owner.name} and of the set {text_set.name}"
                tell(f"shared {owner.name} {text_set.name}", f"{file.url}: {shared}. {_what_follows(owner, text_set)}")


def tell_same_content(text_sets: Sequence[TextSet], fingerprints: Mapping[str, str]) -> None:
    """Say it where two files hold the same bytes, in one set or in two: once for each set and each pair of sets.

    Repeated documents are kept, so that this is no error. A file in two sets is told by `tell_shared`.

    Args:
        fingerprints: URL -> `fingerprint`.
    """
    first: dict[str, tuple[TextSet, TextFile]] = {}
    again: dict[tuple[str, str], list[str]] = {}
    for text_set in text_sets:
        for file in text_set.files:
            if file.n_bytes == 0:
                continue
            owner, known = first.setdefault(fingerprints[file.url], (text_set, file))
            if identity(known.url) != identity(file.url):
                again.setdefault((owner.name, text_set.name), []).append(f"{file.url} is {known.url}")
    sets = {text_set.name: text_set for text_set in text_sets}
    for (one, other), pairs in again.items():
        shown = f"{len(pairs):,} ({first_of(pairs)}). "
        if one == other:
            sentence = f"Text set {one}: files with the content of another one: {shown}Their documents are counted as "
            sentence += "often as they occur: leave the copies out to count them once."
        else:
            sentence = f"Text set {other}: files with the content of a file of the set {one}: {shown}"
            sentence += _what_follows(sets[one], sets[other])
        tell(f"same content {one} {other}", sentence)


def _what_follows(one: TextSet, other: TextSet) -> str:
    """What it means that two sets hold the same text."""
    by_role = {one.role: one.name, other.role: other.name}
    if "train" in by_role and "eval" in by_role:
        return f"Tokens are learned from it, so figures of {by_role['eval']} are not figures of unseen text."
    if "train" in by_role and "protected" in by_role:
        return "Tokens are learned from it, and it is to tokenise as before."
    return "Both count it."
