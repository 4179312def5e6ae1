"""Several corpora side by side: each as a sweep of its own has it, costs as the tokenizers library counts them."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import vocabopt
from helpers import CORPUS, merged, n_tokens, split_heldout

from vocabopt.choice.options import ChoiceOptions
from vocabopt.sensitivity import TOGETHER
from vocabopt.tokenizer import Tokenizer

TALK = ("chat", "dialogue", "interview", "review")
PROSE = ("encyclopedia", "law", "news", "manual")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two corpora: spoken and written halves of the sample."""
    folder = tmp_path_factory.mktemp("corpora")
    paths = {}
    for name, parts in (("talk", TALK), ("prose", PROSE)):
        paths[name] = folder / f"{name}.txt"
        lines = [(CORPUS / "ko" / f"{part}.txt").read_text("utf-8") for part in parts]
        paths[name].write_text("".join(lines), encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def measured(texts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("sensitivity") / "out"
    result = vocabopt("sensitivity", *texts.values(), "--heldout", 0.2, "--size", 300, "--out", out, "--quiet")
    assert result.exit_code == 0, result.output
    return json.loads((out / "sensitivity.json").read_text("utf-8")), out


def documents(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").split("\n") if line.strip()]


@pytest.mark.parametrize("name", ["talk", "prose"])
def test_each_curve_is_the_one_that_a_sweep_of_that_corpus_gives(
    name: str, texts: dict[str, Path], measured: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    record, out = measured
    alone = tmp_path / "alone"
    assert vocabopt("sweep", texts[name], "--heldout", 0.2, "--out", alone, "--quiet").exit_code == 0
    expected, curve = (pl.read_parquet(path) for path in (alone / "curve.parquet", out / "curves" / f"{name}.parquet"))
    assert curve.select(expected.columns).equals(expected)
    sweep = json.loads((alone / "sweep.json").read_text("utf-8"))
    corpus = next(one for one in record["corpora"] if one["name"] == name)
    # Those of the other corpus's text stand beside its own.
    beside = {"knees", "point"}
    assert {key: value for key, value in corpus["choice"].items() if key not in beside} == {
        key: value for key, value in sweep["choice"].items() if key not in beside
    }
    assert {key: corpus["sets"][key] for key in sweep["sets"]} == sweep["sets"]


def test_all_together_is_the_sweep_of_both_files(
    texts: dict[str, Path], measured: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    assert vocabopt("sweep", *texts.values(), "--heldout", 0.2, "--out", alone, "--quiet").exit_code == 0
    expected = pl.read_parquet(alone / "curve.parquet")
    assert pl.read_parquet(measured[1] / "curves" / "together.parquet").select(expected.columns).equals(expected)


def test_costs_are_the_tokens_that_the_merged_tokenizers_give(
    texts: dict[str, Path], measured: tuple[dict[str, Any], Path], mistral: Tokenizer
) -> None:
    record, out = measured
    names = [corpus["name"] for corpus in record["corpora"]]
    assert names == ["talk", "prose", TOGETHER]
    heldout = {name: split_heldout(documents(path), share=0.2)["heldout"] for name, path in texts.items()}
    counted = [
        [
            n_tokens(merged(mistral, pl.read_parquet(out / "curves" / f"{row}.parquet"), 300), heldout[column])
            for column in texts
        ]
        for row in names
    ]
    for row, name in enumerate(names):
        for column, other in enumerate(texts):
            assert record["lost"][row][column] == counted[row][column] / counted[column][column] - 1, (name, other)
    assert record["lost"][0][1] > 0 < record["lost"][1][0]


def test_shares_are_those_of_the_pieces(measured: tuple[dict[str, Any], Path]) -> None:
    record, out = measured
    names = [corpus["name"] for corpus in record["corpora"]]
    pieces = [set(pl.read_parquet(out / "curves" / f"{name}.parquet")["piece"][:300]) for name in names]
    assert record["shared"] == [[len(mine & other) / 300 for other in pieces] for mine in pieces]


def test_options_are_stored_and_the_tables_and_the_sentence_hold_the_numbers(
    texts: dict[str, Path], measured: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    record, _ = measured
    assert record["options"]["corpora"] == {name: str(path) for name, path in texts.items()}
    assert record["options"]["choice"] == ChoiceOptions().as_record()
    result = vocabopt("sensitivity", *texts.values(), "--heldout", 0.2, "--size", 300, "--out", tmp_path / "again")
    assert result.exit_code == 0
    for corpus in record["corpora"]:
        assert re.search(rf"{corpus['name']}.*{corpus['choice']['n_added']:,}", result.stdout)
    assert f"{record['lost'][0][1]:+.1%}" in result.stdout
    worst = max((record["lost"][0][1], "talk", "prose"), (record["lost"][1][0], "prose", "talk"))
    sentence = (
        f"with 300 learned from {worst[1]}, the text of {worst[2]} takes {worst[0]:+.1%} tokens against its own 300."
    )
    assert sentence in result.stdout


def test_the_page_holds_the_tables_and_forbids_requests(measured: tuple[dict[str, Any], Path]) -> None:
    record, out = measured
    page = (out / "sensitivity.html").read_text("utf-8")
    assert "default-src" in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    for corpus in record["corpora"]:
        assert f"{corpus['choice']['n_added']:,}" in page
    assert f"{record['lost'][0][1]:+.1%}" in page
    assert {path.name for path in (out / "figures").iterdir()} == {"sensitivity.svg", "sensitivity.png"}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["{talk}"], "Name at least two corpora"),
        (["{talk}", "{talk}"], "there is a corpus 'talk' already. Name it: NAME="),
        (["{talk}", "together={prose}"], "the name together is kept"),
        (["{talk}", "x y={prose}"], "a name is made of A-Z"),
        (["{talk}", "{prose}/none.txt"], "no such file or folder"),
        (["{talk}", "{prose}", "--heldout", "0"], "--heldout 0.0: must be above 0"),
        (["{talk}", "{prose}", "--size", "0"], "--size 0: must be between 1 and --max-added"),
        (["{talk}", "{prose}", "--window", "5"], "--window 5: write two sizes"),
        (["{talk}", "{prose}", "--max-added", "0"], "--max-added 0: must be between 1"),
    ],
)
def test_bad_input_is_named(arguments: list[str], match: str, texts: dict[str, Path], tmp_path: Path) -> None:
    given = [argument.format(**texts) for argument in arguments]
    result = vocabopt("sensitivity", *given, "--out", tmp_path / "out", "--quiet")
    assert result.exit_code == 2
    assert match in result.stderr
    assert not (tmp_path / "out" / "sensitivity.json").exists()


def test_a_folder_of_another_comparison_is_refused_and_its_own_taken_again(
    texts: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert vocabopt("sensitivity", *texts.values(), "--out", out, "--quiet").exit_code == 0
    assert vocabopt("sensitivity", *texts.values(), "--size", 100, "--out", out, "--quiet").exit_code == 0
    result = vocabopt("sensitivity", *texts.values(), "--heldout", 0.3, "--out", out, "--quiet")
    assert result.exit_code == 2
    assert "holds another comparison (other text, base or reading options" in result.stderr


def test_a_corpus_too_small_to_hold_out_and_a_folder_of_others_are_named(
    texts: dict[str, Path], tmp_path: Path
) -> None:
    one = tmp_path / "one.txt"
    one.write_text("한 문장입니다.\n", encoding="utf-8")
    result = vocabopt("sensitivity", texts["talk"], one, "--out", tmp_path / "out", "--quiet")
    assert "both are needed. Give more text, or change --heldout" in result.stderr
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("mine", encoding="utf-8")
    result = vocabopt("sensitivity", *texts.values(), "--out", full, "--quiet")
    assert "is not empty and holds no sensitivity.json (found letter.txt)" in result.stderr


def test_a_corpus_in_another_script_is_named(texts: dict[str, Path], tmp_path: Path) -> None:
    english = CORPUS / "en" / "news.txt"
    result = vocabopt("sensitivity", *texts.values(), english, "--heldout", 0.2, "--out", tmp_path / "out", "--quiet")
    assert result.exit_code == 2
    assert "news: no new token of Hangul saves anything in this text" in result.stderr
