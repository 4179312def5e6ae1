"""What the commands rest on: light imports, help with examples, sweep.json, and options that stand once."""

import ast
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import vocabopt

from vocabopt.cli import main
from vocabopt.folder import FORMAT_VERSION
from vocabopt.option_fields import specs

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "corpus"


def commands() -> Iterator[str]:
    yield from main.list_commands(click.Context(main))


@pytest.mark.parametrize(
    "command", [[], *([name] for name in commands())], ids=lambda command: " ".join(["help", *command])
)
def test_every_help_has_examples(command: list[str]) -> None:
    result = vocabopt(*command, "--help")
    assert result.exit_code == 0
    examples = result.stdout.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) >= 2
    assert all(example.startswith("    vocabopt ") for example in examples)


def test_version_is_that_of_the_package() -> None:
    from vocabopt import __version__

    assert vocabopt("--version").stdout == f"vocabopt, version {__version__}\n"


HELPS = ([], ["--help"], *([name, "--help"] for name in ("sweep", "prepare", "plan", "adapt", "eval")))


@pytest.mark.parametrize("arguments", HELPS, ids=[" ".join(["import", *arguments]) for arguments in HELPS])
def test_importing_the_command_line_imports_nothing_heavy(arguments: list[str]) -> None:
    heavy = "torch transformers peft accelerate numba polars matplotlib tokenizers huggingface_hub"
    if arguments in ([], ["--help"], ["sweep", "--help"]):
        heavy += " trainer"
    code = (
        "import sys; from vocabopt.cli import main\n"
        f"if {arguments}: main({arguments}, standalone_mode=False)\n"
        f"print('heavy:', *sorted(set({heavy.split()}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"


#: Commands that run the trainer, and import it when they are called.
TRAINER_COMMANDS = {"training.py"}


def test_no_module_of_vocabopt_imports_the_trainer_or_its_libraries() -> None:
    for path in sorted((ROOT / "vocabopt").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        when_called = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}, line {node.lineno}: imports are absolute"
                names = [node.module or ""]
            else:
                continue
            roots = {name.partition(".")[0] for name in names}
            may_load = (ROOT / "vocabopt" / "verification" / "checks_transformers.py", ROOT / "vocabopt" / "api.py")
            allowed = {"transformers"} if path in may_load else set()
            if path.name in TRAINER_COMMANDS and id(node) in when_called:
                allowed = {"trainer"}
            forbidden = {"torch", "trainer", "transformers", "peft", "accelerate"} - allowed
            assert not roots & forbidden, f"{path}, line {node.lineno}"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """sweep.json of the sample corpus."""
    out = tmp_path_factory.mktemp("sample") / "run"
    assert vocabopt("sweep", CORPUS, "--out", out, "--quiet").exit_code == 0
    record: dict[str, Any] = json.loads((out / "sweep.json").read_text("utf-8"))
    return record


def test_sweep_json_holds_the_base_and_the_sets(sample: dict[str, Any]) -> None:
    assert sample["format_version"] == FORMAT_VERSION
    assert {key: sample["base"][key] for key in ("name", "family", "n_tokens", "n_rows")} == {
        "name": "mistral-7b-v1",
        "family": "sentencepiece-bpe",
        "n_tokens": 32_000,
        "n_rows": 32_000,
    }
    assert re.fullmatch(r"[0-9a-f]{64}", sample["base"]["sha256"])
    assert {name: given["role"] for name, given in sample["sets"].items()} == {
        "train": "train",
        "heldout": "heldout",
        "en": "protected",
    }
    for language, names in (("ko", ["train", "heldout"]), ("en", ["en"])):
        lines = [
            line for path in sorted((CORPUS / language).glob("*.txt")) for line in path.read_text("utf-8").split("\n")
        ]
        documents = [line for line in lines if line.strip()]
        counted = {
            field: sum(sample["sets"][name][field] for name in names)
            for field in ("n_documents", "n_bytes", "n_chars", "n_words")
        }
        assert counted == {
            "n_documents": len(documents),
            "n_bytes": sum(len(document.encode()) for document in documents),
            "n_chars": sum(map(len, documents)),
            "n_words": sum(len(document.split()) for document in documents),
        }
    assert all(given["n_tokens_base"] > 0 for given in sample["sets"].values())


def test_sweep_json_holds_the_points(sample: dict[str, Any]) -> None:
    points = sample["points"]
    sizes = [point["n_added"] for point in points]
    assert sizes[0] == 0
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == sample["exhausted_at"] < 40_000
    assert len(sizes) == 10  # nine even steps
    for point in points:
        assert point["n_rows_total"] == 32_000 + point["n_added"]
        assert point["n_embedding_params"] == point["n_rows_total"] * 4096 * 2
        assert point["sets"].keys() == sample["sets"].keys()
        assert point["sets"]["en"]["n_tokens"] == sample["sets"]["en"]["n_tokens_base"]
    tokens = [point["sets"]["train"]["n_tokens"] for point in points]
    assert tokens == sorted(tokens, reverse=True)


def test_sweep_json_holds_the_choice(sample: dict[str, Any]) -> None:
    choice = sample["choice"]
    assert choice["rule"] == "knee"
    assert 0 < choice["n_added"] < sample["exhausted_at"]
    assert (32_000 + choice["n_added"]) % 128 == 0
    first, last = choice["window"]
    assert first < choice["knee"] < last == sample["exhausted_at"]
    assert (choice["limit"], choice["clipped_by"]) == (sample["exhausted_at"], None)
    assert choice["named"] == choice["knee"]


# --- Options stand once ----------------------------------------------------------------------------------------------

#: A command's options record, and the shortest command line that it takes.
RECORDS = {
    "prepare": ("vocabopt.preparation.options:PrepareOptions", "text --out out"),
    "sweep": ("vocabopt.options:SweepOptions", "text"),
    "choose": ("vocabopt.choice.options:ChoiceOptions", "run"),
    "merge": ("vocabopt.options:MergeOptions", "run"),
    "verify": ("vocabopt.options:VerifyOptions", "base new"),
    "sensitivity": ("vocabopt.options:SensitivityOptions", "one two --out out"),
    "analyze": ("vocabopt.options:AnalyzeOptions", "tokenizer"),
    "init": ("trainer.options:InitOptions", "model --tokenizer tokenizer --out out"),
    "plan": ("trainer.options:PlanOptions", "model --budget 1Mtok"),
    "probe": ("trainer.options:ProbeTrainingOptions", "model --out out"),
    "adapt": ("trainer.options:AdaptOptions", "model"),
    "chat-vector": ("trainer.chat.options:ChatVectorOptions", "adapted --base base --instruct instruct --out out"),
    "eval": ("trainer.measuring_options:EvalOptions", "model"),
}


def test_no_default_or_check_of_an_option_stands_in_the_command_line() -> None:
    """A decorator may add an argument, a switch or a path to write: nothing that has a default, a range or a choice."""
    for path in sorted((ROOT / "vocabopt").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "option":
                assert "default" not in {word.arg for word in node.keywords}, f"{path}, line {node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr in ("IntRange", "FloatRange", "Choice"):
                assert path.name == "fields.py", f"{path}, line {node.lineno}"


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_option_of_a_command_is_a_field_with_its_help_and_default(name: str) -> None:
    record, arguments = RECORDS[name]
    given = main.commands[name].make_context(name, arguments.split())
    parameters = {parameter.name: parameter for parameter in main.commands[name].parameters()}
    for field, spec in specs(pkgutil.resolve_name(record)):
        parameter = parameters[field.name]
        if field.default is not MISSING and f"--{field.name}" not in arguments and spec.flag is not None:
            assert given.params[field.name] == field.default
        if spec.flag is not None:
            assert isinstance(parameter, click.Option)
            assert spec.help
            assert (parameter.help or "").startswith(spec.help)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_help_shows_the_daily_options_first(name: str) -> None:
    page = vocabopt(name, "--help").stdout
    daily, _, advanced = page.partition("\nOptions:\n")[2].partition("\nAdvanced")
    shown = re.findall(r"^  (?:-h, )?(--[a-z-]+)", daily, re.MULTILINE)
    assert len(shown) <= 15, shown
    assert "--help" in shown
    assert advanced
    for given, spec in specs(pkgutil.resolve_name(RECORDS[name][0])):
        if spec.flag is not None:
            flag = spec.flag or "--" + given.name.replace("_", "-")
            assert (flag in shown) == spec.daily, flag
