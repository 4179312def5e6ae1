"""The public API: what the commands do, without a terminal."""

import inspect
import json
import logging
import os
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
import pytest
from command_line import vocabopt as command
from helpers import CORPUS, library_tokenizer, lines_of, n_tokens
from matplotlib.figure import Figure

import vocabopt
from vocabopt import api
from vocabopt.choice.options import ChoiceOptions
from vocabopt.cli import main
from vocabopt.options import AnalyzeOptions, SweepOptions, VerifyOptions
from vocabopt.preparation.options import PrepareOptions

NEWS = CORPUS / "ko" / "news.txt"
#: Options of a terminal, and arguments that a function has by itself.
OF_A_TERMINAL = {
    "json",
    "quiet",
    "help",
    "out",
    "base",
    "model",
    "size",
    "method",
    "pad-to",
    "steps",
    "config",
    "text",
    "rule",
    "probe",
}
KINDS: dict[str, type[Any]] = {
    "sweep": SweepOptions,
    "choose": ChoiceOptions,
    "verify": VerifyOptions,
    "analyze": AnalyzeOptions,
    "prepare": PrepareOptions,
}
#: Of `prepare --compare` and `merge --base`, which are other functions' work.
ELSEWHERE = {
    "prepare": {
        *("compare", "budget", "reference", "eval", "probe-text", "batch", "learning-rate-factor", "seeds"),
        *("eval-bytes", "threads"),
    },
    "sweep": {"estimate"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> vocabopt.Sweep:
    return vocabopt.sweep(NEWS, CORPUS / "ko" / "law.txt", out=tmp_path_factory.mktemp("api") / "run", max_added=400)


@pytest.fixture(scope="module")
def merged(run: vocabopt.Sweep) -> vocabopt.Merged:
    return vocabopt.merge(run, size=200)


# --- What is promised ------------------------------------------------------------------------------------------------


def test_all_names_exist_and_are_documented() -> None:
    assert sorted(vocabopt.__all__) == vocabopt.__all__
    assert set(vocabopt.__all__) <= set(dir(vocabopt))
    for name in vocabopt.__all__:
        assert inspect.getdoc(getattr(vocabopt, name)), name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = vocabopt.nothing


def test_importing_imports_nothing_heavy() -> None:
    heavy = {"numba", "polars", "torch", "matplotlib", "numpy", "rich", "transformers"}
    code = f"import sys, vocabopt; print(sorted({heavy!r} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_functions_stay_functions_whatever_is_imported() -> None:
    """No module has the name of a function: importing it would take the function's place."""
    code = (
        "import pkgutil, vocabopt, trainer\n"
        "names = {m.name for p in (vocabopt, trainer) for m in pkgutil.iter_modules(p.__path__)}\n"
        "print(sorted(names & {*vocabopt.__all__}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["sweep", "choose", "verify", "analyze", "prepare", "merge"])
def test_options_are_those_of_the_command(name: str) -> None:
    of_name = main.commands[name]
    parent = main.make_context("vocabopt", [], resilient_parsing=True)
    context = of_name.make_context(name, [], parent, resilient_parsing=True)
    flags = [parameter.opts[0] for parameter in of_name.get_params(context)]
    of_command = {flag.removeprefix("--") for flag in flags if flag.startswith("--")}
    if name == "merge":
        assert of_command - {"pattern", "specials", "vocab", "scores", "base", "quiet", "help"} == {
            parameter.replace("_", "-") for parameter in inspect.signature(vocabopt.merge).parameters
        } - {"run", "progress"}
        return
    accepted = {option.replace("_", "-") for option in api.option_names(KINDS[name])}
    assert of_command - OF_A_TERMINAL - ELSEWHERE.get(name, set()) <= accepted


def test_an_estimate_is_that_of_the_command() -> None:
    found = vocabopt.estimate(NEWS, memory="2GB")
    assert (found.n_bytes, found.share_learned) == (NEWS.stat().st_size, 1.0)
    assert found.total_seconds == sum(found.seconds.values()) > 0


# --- Sweep and choose ------------------------------------------------------------------------------------------------


def test_a_sweep_is_that_of_the_command(run: vocabopt.Sweep, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command("sweep", NEWS, CORPUS / "ko" / "law.txt", "--out", out, "--max-added", 400, "--quiet")
    assert done.exit_code == 0
    assert vocabopt.open(out).curve.equals(run.curve)
    by_command, by_function = (json.loads((folder / "sweep.json").read_text()) for folder in (out, run.out))
    assert by_command["choice"] == by_function["choice"]
    assert by_command["points"] == by_function["points"]


def test_points_are_integers_and_their_ratios(run: vocabopt.Sweep) -> None:
    points = run.points
    first, last = points.row(0, named=True), points.row(-1, named=True)
    assert (first["n_added"], first["ratio_input_train"], first["ratio_embedding"]) == (0, 1.0, 1.0)
    assert last["n_tokens_train"] == run.curve["n_tokens_train"][last["n_added"] - 1]
    assert last["ratio_input_train"] == pytest.approx(last["n_tokens_train"] / first["n_tokens_train"], abs=1e-6)


def test_an_option_may_be_a_number_or_what_the_command_takes(run: vocabopt.Sweep) -> None:
    by_number = vocabopt.choose(run, train_tokens=10e9, window=(50, 300), train_memory=200_000_000_000)
    by_text = vocabopt.choose(run.out, train_tokens="10B", window="50:300", train_memory="200GB")
    assert by_number.record == by_text.record
    assert vocabopt.open(run.out).choice == by_text
    assert by_number.rules.filter(pl.col("rule") == "knee")["n_added"][0] is not None
    vocabopt.choose(run)


def test_what_is_wrong_is_said_in_one_error(run: vocabopt.Sweep, tmp_path: Path) -> None:
    with pytest.raises(vocabopt.VocaboptError, match=r"nosuch: no such option. There are .*max_added"):
        vocabopt.sweep(NEWS, out=tmp_path / "run", nosuch=1)
    with pytest.raises(vocabopt.VocaboptError, match="No text given"):
        vocabopt.sweep(out=tmp_path / "run")
    with pytest.raises(vocabopt.VocaboptError, match=r"no finished sweep|no such folder"):
        vocabopt.open(tmp_path / "nothing")
    with pytest.raises(vocabopt.VocaboptError, match="outside the curve"):
        vocabopt.merge(run, size=100_000, out=tmp_path / "t")
    with pytest.raises(vocabopt.VocaboptError, match="both name the steps"):
        vocabopt.prepare(NEWS, out=tmp_path / "p", steps="nfc", config="a.toml")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_another_process_holds_is_refused(run: vocabopt.Sweep, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom vocabopt.folder import folder_lock\n"
        "with folder_lock(Path(sys.argv[1]), 'a test'):\n    print(flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(vocabopt.VocaboptError, match="is in use by a test"):
                vocabopt.sweep(NEWS, out=tmp_path / "run")
        finally:
            other.kill()


# --- Merge, verify, analyze, prepare ---------------------------------------------------------------------------------


def test_a_merged_tokenizer_gives_the_counts_and_loads(run: vocabopt.Sweep, merged: vocabopt.Merged) -> None:
    assert merged.verification.passed
    assert merged.n_added == 200
    documents = [line for path in (NEWS, CORPUS / "ko" / "law.txt") for line in path.read_text().split("\n") if line]
    counted = sum(run.curve[f"n_tokens_{name}"][199] for name in ("train", "heldout"))
    assert n_tokens(library_tokenizer(merged.out), documents) == counted
    loaded = merged.load()
    assert len(loaded) == 32_000 + 200
    text = lines_of("ko")[0]
    assert loaded.decode(loaded.encode(text, add_special_tokens=False)) == text


def test_verification_holds_the_checks(merged: vocabopt.Merged) -> None:
    found = vocabopt.verify("mistral-7b-v1", merged, text={"ko": NEWS, "en": CORPUS / "en"})
    assert found.passed
    assert found.verdict == "pass"
    assert found.checks["status"].to_list().count("pass") >= 9
    other = vocabopt.verify(merged.out, "mistral-7b-v1")
    assert not other.passed


def test_an_analysis_has_a_row_for_each_tokenizer_and_text(merged: vocabopt.Merged, tmp_path: Path) -> None:
    texts = {"ko": NEWS, "en": CORPUS / "en"}
    found = vocabopt.analyze(["mistral-7b-v1", merged.out], texts, out=tmp_path / "a", morpheme_documents=0)
    table = found.table
    assert table.select("tokenizer", "set").n_unique() == table.height == 4
    (base, new) = table.filter(pl.col("set") == "ko")["n_tokens"].to_list()
    assert new < base
    assert (tmp_path / "a" / "analyze.json").is_file()


def test_prepared_text_is_swept_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(NEWS.read_text() * 2)
    prepared = vocabopt.prepare(tmp_path / "a.txt", out=tmp_path / "clean", steps=["nfc", "exact"])
    assert prepared.funnel["step"].to_list() == ["decode", "nfc", "exact"]
    before, after = prepared.funnel["n_documents_in"][0], prepared.funnel["n_documents_out"][-1]
    assert after == len({line for line in NEWS.read_text().split("\n") if line.strip()})
    assert before == 2 * len([line for line in NEWS.read_text().split("\n") if line.strip()])
    sweep = vocabopt.sweep(prepared.out, out=tmp_path / "run", max_added=100)
    assert sum(sweep.record.sets[name].n_documents for name in ("train", "heldout")) == after


# --- A guest in somebody's program -----------------------------------------------------------------------------------


def state() -> dict[str, Any]:
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "random": str(np.random.get_state()[1][:5]),  # noqa: NPY002
        "levels": {name: logging.getLogger(name).level for name in ("", "transformers", "matplotlib")},
        "style": dict(matplotlib.rcParams),
        "argv": list(sys.argv),
    }


def test_nothing_is_printed_and_no_state_changes(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = state()
    sweep = vocabopt.sweep(NEWS, out=tmp_path / "run", max_added=100)
    vocabopt.merge(sweep, size=50)
    assert isinstance(sweep.plot(), Figure)
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_to_a_function(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int | None]] = []
    vocabopt.sweep(NEWS, out=tmp_path / "run", max_added=100, progress=lambda *step: steps.append(step))
    names = list(dict.fromkeys(name for name, _, _ in steps))
    assert names[:2] == ["count", "prove"]
    assert {"encode", "grow"} <= {*names}
    assert all(total is None or done <= total for _, done, total in steps)


class Tags(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


def test_results_are_tables_and_pictures_in_a_notebook(run: vocabopt.Sweep, merged: vocabopt.Merged) -> None:
    assert {"svg", "table", "p"} <= Tags(run._repr_html_()).seen
    for result in (run.choice, merged, merged.verification):
        assert "table" in Tags(result._repr_html_()).seen
