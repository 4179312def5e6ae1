"""The documents are true: commands, options, printed output, files and fields, the map of packages, dependencies."""

import html
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
from click.testing import CliRunner

from vocabopt import __version__
from vocabopt.cli import main
from vocabopt.run_directory import read_sweep
from vocabopt.wording import reason

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
DOCS = ROOT / "docs"
FILES = (DOCS / "reference" / "files.md").read_text("utf-8")
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        ROOT / "corpus" / "README.md",
        ROOT / "experiments" / "README.md",
        ROOT / "reports" / "LOG.md",
    }
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def code_blocks(text: str) -> str:
    return "\n".join(re.findall(r"^```(?:sh|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def targets() -> dict[str, str]:
    """Makefile targets meant for people, and what `make help` says of them."""
    return dict(re.findall(r"^([a-z-]+):.*?## (.+)$", MAKEFILE, re.MULTILINE))


def commands() -> dict[str, click.Command]:
    return {name: main.commands[name] for name in main.list_commands(click.Context(main))}


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.parameters() for option in parameter.opts} | {
        "--help",
        "--version",
    }


# --- Commands --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    """What `make docs` would write: path -> text."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    return {path: make() for path, make in generate.PAGES.items()}


def test_the_generated_pages_are_fresh(generated: dict[Path, str]) -> None:
    assert [path.name for path in generated] == ["api.md", "cli.md", "prepare-steps.md"]
    for path, text in generated.items():
        assert path.read_text("utf-8") == text, f"{path.name} is out of date: make docs"


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_and_option_is_documented(name: str) -> None:
    page = (DOCS / "reference" / "cli.md").read_text("utf-8")
    section = page.partition(f"\n## vocabopt {name}\n")[2].partition("\n## ")[0]
    assert section
    assert all(option in section for option in options_of(commands()[name]) - {"--version"} if option.startswith("--"))
    assert f"vocabopt {name}" in README


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_named_in_the_documents_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text)) | set(
        re.findall(r"^make ([a-z-]+)", code_blocks(text), re.MULTILINE)
    )
    assert named
    assert named <= targets().keys()


def test_the_readme_names_the_two_commands_first() -> None:
    assert re.findall(r"^make ([a-z-]+)", code_blocks(README), re.MULTILINE) == ["sweep", "test"]


def test_every_make_target_has_help_and_the_promised_ones_exist() -> None:
    assert {"setup", "sweep", "test", "check", "bench", "adapt", "help"} <= targets().keys()
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert targets().keys() <= set(phony[1].split())


def test_make_and_ci_remove_nothing() -> None:
    for text in (MAKEFILE, (ROOT / ".ci" / "run").read_text("utf-8")):
        assert not re.search(r"\b(rm|rmdir|clean|git)\b", text)


def shown_commands(text: str) -> list[list[str]]:
    """The arguments of every vocabopt command that a code block of a page shows at the start of a line or in it."""
    lines = code_blocks(text).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        if re.search(r"(^|\S[ /])vocabopt [a-z]", line) and not line.startswith(" "):
            words = shlex.split(line, comments=True)
            start = next((n for n, word in enumerate(words) if re.fullmatch(r"(.*/)?vocabopt", word)), None)
            found += [words[start + 1 :]] if start is not None else []
    return found


def parsed(arguments: list[str]) -> None:
    """Parse a command line as the CLI does, without running it."""
    command = commands()[arguments[0]]
    with command.make_context(arguments[0], list(arguments[1:])):
        pass


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_every_command_shown_in_a_how_to_parses(page: Path) -> None:
    lines = shown_commands(page.read_text("utf-8"))
    assert lines
    for arguments in lines:
        parsed(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_command_lines_in_the_documents_use_commands_and_options_that_exist(page: Path) -> None:
    for line in shown_commands(page.read_text("utf-8")):
        assert line[0] in commands(), line
        assert {word for word in line if re.match(r"--[a-z]", word)} <= options_of(commands()[line[0]]), line


# --- Output and files ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What `make sweep` prints, and the folder it writes."""
    out = tmp_path_factory.mktemp("docs") / "run"
    result = CliRunner().invoke(main, ["sweep", str(ROOT / "corpus"), "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, out


def test_the_output_in_the_readme_is_what_is_printed(sample: tuple[str, Path]) -> None:
    block = re.search(r"<!-- output:start -->\n```text\n(.*?)```\n<!-- output:end -->", README, re.DOTALL)
    assert block is not None
    printed = [line.rstrip() for line in sample[0].splitlines()]
    assert block[1].splitlines() == printed[:-1]
    assert printed[-1].startswith("Report: ")


def test_the_numbers_in_the_readme_s_first_sentence_are_measured(sample: tuple[str, Path]) -> None:
    sweep = json.loads((sample[1] / "sweep.json").read_text("utf-8"))
    point = sweep["choice"]["point"]
    ratio = point["sets"]["heldout"]["n_tokens"] / sweep["sets"]["heldout"]["n_tokens_base"]
    first = README.partition("```")[0].replace("\n", " ")
    assert f"{point['n_added']:,} added tokens" in first
    assert f"{ratio:.1%}".replace("%", " %") in first
    assert f"{point['n_rows_total'] / sweep['base']['n_rows']:.2f} times its embedding" in first
    assert f"all sizes from 0 to {sweep['exhausted_at']:,}, each" in first


def test_the_python_of_the_readme_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus").symlink_to(ROOT / "corpus")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert code in (DOCS / "reference" / "api.md").read_text("utf-8")
    exec(code, {})
    (printed,) = re.findall(r"^It prints `(.*?)`\.", README, re.MULTILINE)
    assert capsys.readouterr().out == f"{printed}\n"


def test_the_committed_report_is_of_the_same_choice(sample: tuple[str, Path]) -> None:
    """`make sample` writes it; it has the union and the merged tokenizer's proof in it, and no path of a machine."""
    told = reason(read_sweep(sample[1]))
    report = (ROOT / "reports" / "sample" / "report.html").read_text("utf-8")
    assert html.escape(told).replace("&#x27;", "&#39;") in report
    assert f"vocabopt {__version__}" in report
    assert 'id="table-union"' in report
    assert not re.search(r"/(tmp|home|root|work)/", report)


def test_every_file_of_a_run_is_in_the_reference(sample: tuple[str, Path]) -> None:
    for path in sample[1].iterdir():
        assert path.name in FILES


def test_every_column_and_field_is_in_the_reference(sample: tuple[str, Path]) -> None:
    out = sample[1]
    sweep: dict[str, Any] = json.loads((out / "sweep.json").read_text("utf-8"))
    names = {*sweep, *sweep["base"], *sweep["model"], *sweep["choice"], *sweep["points"][0]}
    names |= {*sweep["sets"]["train"], *sweep["points"][0]["sets"]["train"]}
    for name in ("curve", "folds", "counts", "counts_folds"):
        names |= set(pl.read_parquet_schema(out / f"{name}.parquet"))
    general = {re.sub("_(train|heldout|en)$", "_<set>", name) for name in names}
    missing = {name for name in general if not re.search(rf"\b{re.escape(name)}", FILES)}
    # Fields whose meaning is in their name.
    assert missing <= {"name"}


def test_every_package_is_on_the_map() -> None:
    tree = CONTRIBUTING.partition("## Map")[2].partition("\n## ")[0]
    for top in ("vocabopt", "trainer"):
        section = tree.partition(f"    {top}/")[2]
        for path in (ROOT / top).glob("*/__init__.py"):
            assert f" {path.parent.name}/ " in section, f"{top}/{path.parent.name}"
    for name in re.findall(r"^      ([a-z_]+)/", tree, re.MULTILINE):
        assert any((ROOT / top / name).is_dir() for top in ("vocabopt", "trainer")), name


def test_the_index_names_every_page_of_the_four_parts() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    for page in sorted({*DOCS.rglob("*.md"), *DOCS.glob("*.ipynb")} - {DOCS / "README.md"}):
        assert f"]({page.relative_to(DOCS)})" in index, page.name


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


def how_to_script(page: Path) -> str:
    """The page's commands as one shell script; a Python block follows a line that says under which name to save it."""
    text = page.read_text("utf-8")
    parts = ["set -e"]
    pattern = r"(?:Save this as\s`(\S+)`[^`]*?)?^```(sh|python)\n(.*?)^```"
    blocks = re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
    for name, kind, block in (match.groups() for match in blocks):
        if kind == "python":
            parts.append(f"cat > {name} <<'END_OF_FILE'\n{block}END_OF_FILE")
        else:
            parts.append("\n".join(line for line in block.splitlines() if not re.match(r"make |\. \.venv", line)))
    return "\n".join(parts)


@pytest.mark.slow
def test_the_how_to_pages_run_as_written(tmp_path: Path) -> None:
    """On a copy of the corpus, without a network; pages that use the small model come after the page that makes it."""
    (tmp_path / "corpus").symlink_to(ROOT / "corpus")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    first = [DOCS / "how-to" / "korean-mistral.md"]
    for page in [*first, *(page for page in HOW_TO if page not in first)]:
        script = how_to_script(page)
        refused = "vocabopt sweep corpus/ --base english.tiktoken --out reports/rank-file\n"
        script = script.replace(refused, refused.replace("\n", " && exit 1 || test $? = 2\n"))
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in [*PAGES, DOCS / "tutorial.ipynb"]:
        for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text("utf-8")):
            target = page.parent / link if link else page
            assert "://" in link or target.exists(), f"{page.name}: {link}"
            assert not anchor or "://" in link or anchor in anchors(target), f"{page.name}: {link}#{anchor}"


@pytest.mark.parametrize("mark", ["bench", "output"])
def test_marks_for_generated_parts_come_in_pairs(mark: str) -> None:
    assert README.count(f"<!-- {mark}:start -->") == README.count(f"<!-- {mark}:end -->") == 1


def test_the_changelog_has_this_version_and_a_head_for_the_next() -> None:
    heads = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert heads[1] == __version__ == PROJECT["version"]


def test_the_corpus_is_what_its_readme_says() -> None:
    text = (ROOT / "corpus" / "README.md").read_text("utf-8")
    korean, english = (sorted((ROOT / "corpus" / language).glob("*.txt")) for language in ("ko", "en"))
    assert [path.name for path in korean] == [path.name for path in english]
    assert re.search(rf"\b{', '.join(path.stem for path in korean)}\b", " ".join(text.split()))
    n_lines = 0
    for pair in zip(korean, english, strict=True):
        left, right = (path.read_text("utf-8").removesuffix("\n").split("\n") for path in pair)
        assert len(left) == len(right)
        assert all(line.strip() for line in (*left, *right))
        n_lines += len(left)
    assert f"{n_lines:,} lines in each language" in text
    assert sum(path.stat().st_size for path in korean) >= 100_000


# --- Dependencies ----------------------------------------------------------------------------------------------------


def requirements() -> Iterator[tuple[str, str, str]]:
    """Every dependency: the extra that asks for it ("" for none), its name, its lower bound."""
    for extra, lines in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items():
        for line in lines:
            if line.startswith(f"{PROJECT['name']}["):
                continue
            parts = re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z0-9,]+\])?>=([0-9.]+)", line)
            assert parts is not None, f"{line}: a name and a lower bound"
            yield extra, parts[1], parts[2]


def pins() -> list[tuple[str, str]]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    parts = [line.split("==") for line in lines if line and not line.startswith("#")]
    return [(name, version) for name, version in parts]


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def test_constraints_pin_each_package_once_and_exactly() -> None:
    names = [name for name, _ in pins()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert all(re.fullmatch(r"\d+(\.\d+)*(\.post\d+)?", version) for _, version in pins())


@pytest.mark.parametrize(("extra", "name", "bound"), list(requirements()))
def test_every_dependency_is_pinned_and_justified(extra: str, name: str, bound: str) -> None:
    assert numbers(dict(pins())[name]) >= numbers(bound)
    rows = re.findall(rf"^\| {re.escape(name)} \|(.+)\|$", CONTRIBUTING, re.MULTILINE)
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].split("|")]
    assert len(cells[-1]) > 5
    assert extra == "" if len(cells) == 1 else extra in cells[0].split(", ")


def test_no_justification_outlives_its_dependency() -> None:
    section = CONTRIBUTING.partition("## Dependencies")[2]
    rows = set(re.findall(r"^\| ([\w-]+) \|", section, re.MULTILINE)) - {"package"}
    assert rows == {name for _, name, _ in requirements()}
