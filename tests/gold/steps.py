"""The commands that the gold test runs: each once at least, on the sample corpus and on small bases made here."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result
from helpers import CORPUS, lines_of, train_byte_level

from vocabopt.cli import main

#: A model of a few thousand weights, in a second.
DEMO = (
    *("--out", "demo", "--text", "corpus/en", "--vocab-size", "500", "--width", "32", "--blocks", "2", "--heads", "2"),
    *("--context", "64", "--steps", "20", "--eval-every", "10", "--eval-bytes", "20000"),
)
TRAINING = (
    *("--context", "64", "--micro-batch", "4", "--lora-rank", "4", "--precision", "fp32", "--threads", "1"),
    *("--device", "cpu", "--eval-bytes", "20kB"),
)
RANKS = ("--pattern", "r50k_base", "--specials", "none")
PREPARE = "repair,nfc,lines,length,script,repetition,personal,exact,near"
COMMANDS = tuple(sorted(main.commands))


def steps() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and command line, in the order in which they build on each other."""
    yield "sweep mistral", ("sweep", "corpus", "--out", "mistral", "--model", "mistral-7b")
    yield "sweep union", ("sweep", "corpus", "--out", "mistral-union", "--method", "union", "--sizes", "2000,3000")
    yield "sweep byte-level", ("sweep", "corpus", "--base", "bases/byte-level", "--out", "byte-level")
    yield "sweep ranks", ("sweep", "corpus/ko", "--base", "bases/small.tiktoken", *RANKS, "--out", "ranks")
    yield (
        "sweep without script",
        ("sweep", "corpus/ko", "--script", "none", "--protect", "en=corpus/en", "--out", "no-script"),
    )
    yield (
        "choose",
        ("choose", "mistral", "--train-tokens", "100M", "--train-memory", "200GB", "--serve-memory", "20GB"),
    )
    yield "choose json", ("choose", "byte-level", "--window", "100:2000", "--json")
    yield "merge mistral", ("merge", "mistral", "--size", "1000")
    yield "merge union", ("merge", "mistral-union", "--size", "2000")
    yield "merge byte-level", ("merge", "byte-level", "--size", "800")
    yield "merge ranks", ("merge", "ranks", "--size", "300")
    yield "verify", ("verify", "mistral-7b-v1", "mistral/tokenizer", "--text", "ko=corpus/ko", "--text", "en=corpus/en")
    yield "verify byte-level", ("verify", "bases/byte-level", "byte-level/tokenizer", "--json")
    yield (
        "sensitivity",
        ("sensitivity", "a=corpus/ko/news.txt", "b=corpus/ko/law.txt", "--size", "300", "--out", "compared"),
    )
    yield (
        "analyze",
        (
            "analyze",
            "mistral-7b-v1",
            "mistral/tokenizer",
            "bases/byte-level",
            *("--text", "ko=corpus/ko", "--text", "en=corpus/en", "--out", "analysis"),
        ),
    )
    yield "prepare", ("prepare", "dirty.jsonl", "corpus/ko", "--out", "prepared", "--steps", PREPARE)
    yield "sweep demo", ("sweep", "corpus/ko", "--base", "demo", "--model", "demo", "--out", "demo-run")
    yield "merge demo", ("merge", "demo-run", "--size", "256")
    yield "init", ("init", "demo", "--tokenizer", "demo-run/tokenizer", "--out", "initialised", "--json")
    yield (
        "plan",
        ("plan", "demo", "--added", "256", "--budget", "1Mtok", "--context", "64"),
    )
    yield (
        "adapt",
        (
            *("adapt", "demo", "--run", "demo-run", "--size", "256", "--text", "ko=corpus/ko"),
            *("--replay", "en=corpus/en:0.2", "--budget", "40kB", "--batch", "2kB", "--control", *TRAINING),
        ),
    )
    yield "eval", ("eval", "demo-run/model", "--text", "en=corpus/en", "--device", "cpu", "--out", "evaluated.json")
    yield (
        "probe",
        (
            *("probe", "demo", "--run", "demo-run", "--text", "ko=corpus/ko", "--init", "decompose"),
            *("--init", "weighted", "--steps", "8", "--seeds", "1", "--batch", "1kB", "--out", "probed", *TRAINING),
        ),
    )
    yield "report", ("report", "demo-run")
    for command in ("", *COMMANDS):
        yield f"help {command}".strip(), (*command.split(), "--help")


def run_steps(folder: Path) -> dict[str, str]:
    """Run all in `folder`: what each printed, by its name.

    Raises:
        AssertionError: a command failed.
    """
    printed = {}
    with _inside(folder):
        _make_inputs()
        for name, arguments in steps():
            if name == "sweep demo":
                from demo.__main__ import main as demo

                _run(demo, DEMO)
            printed[name] = _run(main, arguments).output
    return printed


def _run(command: object, arguments: tuple[str, ...]) -> Result:
    sys.argv = ["vocabopt", *arguments]  # what reports show as their command
    result = CliRunner(env={"VOCABOPT_TRACEBACK": "1"}).invoke(command, list(arguments))  # type: ignore[arg-type]
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, (arguments, result.output)
    return result


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _make_inputs() -> None:
    from vocabopt.tokenizer.ranks import rank_file

    for language in ("en", "ko"):
        shutil.copytree(CORPUS / language, Path("corpus") / language)
    value = train_byte_level(lines_of("en") + lines_of("ko")[:200], 2_000)
    folder = Path("bases/byte-level")
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    config = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    model = {"vocab_size": 2_048, "hidden_size": 64, "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(model), encoding="utf-8")
    pieces = [bytes([byte]) for byte in range(256)] + [word.encode() for word in (" t", "he", "in", " a", "er", " the")]
    Path("bases/small.tiktoken").write_bytes(rank_file({piece: rank for rank, piece in enumerate(pieces)}))
    lines = lines_of("ko")[:40]
    dirty = [*lines, *lines[:5], "연락처: 010-1234-5678 " + lines[5], "ë‹¤ " + lines[6], "short", "가" * 400]
    records = (json.dumps({"text": text}, ensure_ascii=False) for text in dirty)
    Path("dirty.jsonl").write_text("\n".join(records) + "\n", encoding="utf-8")
