"""The benchmark's text: one document a line, stripped, none blank; built once and kept in a cache folder."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Folders of the Korean mix in order, and how many bytes of each at most (../shared/data/README.md).
KOREAN_MIX: tuple[tuple[str, int | None], ...] = (
    ("ko_wiki", None),
    ("ko_nsmc_reviews", None),
    ("ko_law", 10_000_000),
    ("ko_tech_docs", None),
    ("ko_community_docs", None),
    ("ko_news_comments", None),
    ("ko_klue", None),
    ("ko_kornlu", None),
    ("ko_wikinews", None),
    ("ko_chatbot", None),
    ("ko_ud_kaist", None),
    ("ko_ud_gsd", None),
)
#: sentencepiece's own default: it leaves out longer lines without a word.
SENTENCEPIECE_MAX_LINE_BYTES = 4192
_SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
_RULES = 1  # raised when the rules for building a text change, so that cached ones are built again


class BenchError(Exception):
    """The benchmark cannot run; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A built text, and what the result says of it."""

    name: str
    path: Path
    n_bytes: int
    n_documents: int
    n_longest_bytes: int
    n_lines_too_long_for_sentencepiece: int

    def as_record(self) -> dict[str, object]:
        return {**asdict(self), "path": self.path.name}


@dataclass(frozen=True)
class Source:
    """A file to read, and how many bytes of its text (line ends counted) to take at most."""

    path: Path
    max_bytes: int | None = None


def data_folder() -> Path | None:
    """The development data: VOCABOPT_DATA, or ../shared/data where that is not set; None if it is not there."""
    folder = Path(os.environ.get("VOCABOPT_DATA") or ROOT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def choose_text(path: Path | None, cache: Path) -> Text:
    """The text at `path`; without one the Korean mix, or the sample corpus where there is no data folder."""
    data = data_folder()
    if path is not None:
        return build(path.resolve().stem.partition(".")[0], _sources(path), cache)
    if data is not None:
        return build("korean-mix", mix_sources(data), cache)
    return build("sample-corpus", _sources(ROOT / "corpus" / "ko"), cache)


def mix_sources(data: Path) -> list[Source]:
    """The files of the Korean mix, in its order; within a folder by name."""
    return [Source(file.path, limit) for folder, limit in KOREAN_MIX for file in _sources(data / folder)]


def _sources(path: Path) -> list[Source]:
    """A text file, or all those in a folder and below, by name."""
    if path.is_file():
        return [Source(path)]
    files = sorted(file for file in path.rglob("*") if file.name.endswith(_SUFFIXES)) if path.is_dir() else []
    if not files:
        raise BenchError(f"{path}: no text there. Name a file or folder of {', '.join(_SUFFIXES)}.")
    return [Source(file) for file in files]


def documents(source: Source) -> Iterator[str]:
    """The lines of a file, or of the `text` of its records: stripped, blank ones dropped, up to `max_bytes`."""
    n_bytes = 0
    with gzip.open(source.path, "rb") if source.path.suffix == ".gz" else source.path.open("rb") as file:
        for number, stored in enumerate(file, start=1):
            text = stored.decode()
            if ".jsonl" in source.path.suffixes:
                try:
                    text = json.loads(text)["text"]
                except (ValueError, KeyError, TypeError) as error:
                    place = f"{source.path}: line {number}"
                    raise BenchError(f"{place} is not a record with a text ({error!r}).") from error
            for line in text.split("\n"):
                if not (document := line.strip()):
                    continue
                n_bytes += len(document.encode()) + 1
                if source.max_bytes is not None and n_bytes > source.max_bytes:
                    return
                yield document


def build(name: str, sources: Iterable[Source], cache: Path) -> Text:
    """Write the documents of all sources to one file of the cache, unless it is there and its sources are the same."""
    sources = list(sources)
    described = [(str(s.path), s.path.stat().st_size, s.path.stat().st_mtime_ns, s.max_bytes) for s in sources]
    digest = hashlib.sha256(json.dumps([_RULES, described]).encode()).hexdigest()[:12]
    return _cached(name, cache / f"{name}-{digest}.txt", (line for source in sources for line in documents(source)))


def split(text: Text, heldout_share: float = 0.05) -> tuple[Text, Text]:
    """Training and held-out documents, picked by content, so that repeated documents stay on one side."""
    below = round(heldout_share * 2**32)

    def part(*, heldout: bool) -> Iterator[str]:
        with text.path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                document = line.removesuffix("\n")
                value = int.from_bytes(hashlib.blake2b(document.encode(), digest_size=4).digest())
                if (value < below) == heldout:
                    yield document

    parts = [
        _cached(f"{text.name}-{side}", text.path.with_name(f"{text.path.stem}-{side}.txt"), part(heldout=is_heldout))
        for side, is_heldout in (("training", False), ("heldout", True))
    ]
    return parts[0], parts[1]


def _cached(name: str, path: Path, lines: Iterable[str]) -> Text:
    """The text at `path`, written from `lines` if it is not there; its sizes are kept in a JSON file beside it."""
    described = path.with_suffix(".json")
    if not (path.is_file() and described.is_file()):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        lengths = {"n_bytes": 0, "n_documents": 0, "n_longest_bytes": 0, "n_lines_too_long_for_sentencepiece": 0}
        with partial.open("wb") as file:
            for line in lines:
                n_bytes = file.write(f"{line}\n".encode()) - 1
                lengths["n_bytes"] += n_bytes + 1
                lengths["n_documents"] += 1
                lengths["n_longest_bytes"] = max(lengths["n_longest_bytes"], n_bytes)
                lengths["n_lines_too_long_for_sentencepiece"] += n_bytes > SENTENCEPIECE_MAX_LINE_BYTES
        if not lengths["n_documents"]:
            raise BenchError(f"{name}: only blank lines; nothing to measure.")
        partial.replace(path)
        described.write_text(json.dumps(lengths), encoding="utf-8")
    return Text(name=name, path=path, **json.loads(described.read_text(encoding="utf-8")))
