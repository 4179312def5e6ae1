"""`vocabopt analyze` on the command line: tables, files, and what it refuses."""

import html
import io
import json
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from command_line import assert_refused, vocabopt, written
from helpers import CORPUS, toy_sentencepiece
from msgspec import convert
from rich.cells import cell_len
from rich.console import Console as RichConsole

from vocabopt.analysis.record import AnalyzeRecord
from vocabopt.analysis.tables import all_tables, notes

HOSTILE = "<script>alert(1)</script>\"'\u202e\u0000"


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small tokenizers in folders of one name, and texts: Korean, English aligned with it, none."""
    root = tmp_path_factory.mktemp("toys")
    for folder, characters in (("a", "학교에가다"), ("b", "abcdefghij")):
        value = json.dumps(toy_sentencepiece(characters))
        written(root / folder / "model" / "tokenizer.json", value)
    written(root / "ko.txt", "학교에 갔다\n집에 가다\nㅋㅋ 에\n")
    written(root / "en.txt", "a cab\nbe a jade\nhi\n")
    written(root / "blank.txt", "\n \n")
    written(root / "two.txt", "one\ntwo\n")
    return root


def analyze(*arguments: object) -> Any:
    result = vocabopt("analyze", *arguments, "--json", "--morpheme-documents", 0)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# --- Output ----------------------------------------------------------------------------------------------------------


def test_tables_of_two_tokenizers_on_twenty_sets_fit_80_columns(toys: Path) -> None:
    texts = [part for i in range(20) for part in ("--text", f"language-{i:02}={toys / 'ko.txt'}")]
    record = analyze(
        f"first-model={toys / 'a/model'}", f"second-one={toys / 'b/model'}", *texts, "--parity", "language-03"
    )
    # Numbers as wide as those of 100 MB.
    for tokenizer in record["tokenizers"]:
        tokenizer |= {"n_tokens": 151_851, "n_unused": 135_129, "n_rare": 10_441}
        for counts in tokenizer["sets"].values():
            counts |= {"n_tokens": 112_194_520, "tokens_per_word": 44.368, "share_words_whole": 0.123}
    console = RichConsole(width=80, record=True, file=io.StringIO())
    typed = convert(record, AnalyzeRecord)
    for table in all_tables(typed, width=80):
        console.print(table)
    printed = console.export_text()
    assert max(cell_len(line) for line in printed.splitlines()) <= 80
    for row in ("112,194,520", "44.368", "12.3", "1.000"):
        assert printed.count(row) >= 20  # nothing is cut or broken over two lines
    assert len(notes(typed)) >= 3


def test_what_is_undefined_is_a_dash_and_null(toys: Path) -> None:
    arguments = (toys / "a" / "model", "--text", f"none={toys / 'blank.txt'}")
    record = analyze(*arguments)
    assert record["sets"]["none"]["n_documents"] == 0
    assert record["sets"]["none"]["n_blank"] == 2
    (tokenizer,) = record["tokenizers"]
    counts = tokenizer["sets"]["none"]
    ratios = {name: value for name, value in counts.items() if not name.startswith("n_")}
    assert counts["n_tokens"] == 0
    assert set(ratios.values()) == {None}
    assert [tokenizer[name] for name in ("n_unused", "n_rare", "syllables", "gini_tokens_per_byte")] == [None] * 4
    result = vocabopt("analyze", *arguments)
    assert f"--text none={toys / 'blank.txt'}: holds no text, so that nothing is measured on it." in result.stderr
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()[5:] if line.strip().startswith("none")]
    # Chunks per word; then all other numbers.
    assert rows[:2] == [["none", "-"], ["none", "0", *["-"] * 8]]


def test_one_set_has_no_gini_and_no_parity(toys: Path) -> None:
    (tokenizer,) = analyze(toys / "a" / "model", "--text", f"ko={toys / 'ko.txt'}")["tokenizers"]
    assert tokenizer["gini_tokens_per_byte"] is None
    assert tokenizer["gini_tokens_per_document"] is None
    assert tokenizer["sets"]["ko"]["parity"] is None
    assert tokenizer["sets"]["ko"]["share_words_whole"] is not None


def test_names_are_given_or_those_of_folders(toys: Path) -> None:
    record = analyze(f"old={toys / 'a/model'}", toys / "b" / "model", "--text", f"train={toys / 'ko.txt'}")
    assert [tokenizer["name"] for tokenizer in record["tokenizers"]] == ["old", "model"]
    assert list(record["sets"]) == ["train"]  # a name that a sweep keeps for itself


def test_files_are_written_and_the_same_again(toys: Path, tmp_path: Path) -> None:
    arguments = (toys / "a" / "model", f"b={toys / 'b/model'}", "--text", f"ko={toys / 'ko.txt'}")
    contents = []
    for out in (tmp_path / "one", tmp_path / "two"):
        result = vocabopt("analyze", *arguments, "--morpheme-documents", 0, "--out", out)
        assert result.exit_code == 0, result.output
        assert f"Report: {out / 'analyze.html'}" in result.stdout
        files = sorted(path for path in out.rglob("*") if path.is_file())
        contents.append({str(path.relative_to(out)): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    figures = [f"figures/{name}.{form}" for name in ("bytes-per-token", "fertility") for form in ("png", "svg")]
    assert list(contents[0]) == ["analyze.html", "analyze.json", *figures]
    record = json.loads(contents[0]["analyze.json"])
    assert record["format_version"] == 1
    assert record["tokenizers"][1]["name"] == "b"


def test_the_page_refers_to_nothing_outside_and_forbids_it(toys: Path, tmp_path: Path) -> None:
    vocabopt("analyze", toys / "a" / "model", "--text", f"ko={toys / 'ko.txt'}", "--out", tmp_path, "--quiet")
    page = (tmp_path / "analyze.html").read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert re.fullmatch(r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'", html.unescape(policy[1]))
    assert not re.search(r"\b(src|href)=|url\(|@import|<script|<link", page)
    assert page.count("<svg") == 2
    assert page.count("<table") == 8  # each figure has its numbers in a table


def test_hostile_names_are_harmless(toys: Path, tmp_path: Path) -> None:
    name = HOSTILE.replace("\0", "\x1b[2J")
    path = written(tmp_path / "<b>&amp;.txt", f"{HOSTILE[:-1]} 학교\n")
    word = {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
    lossy = written(tmp_path / "lossy.json", json.dumps({"version": "1.0", "added_tokens": [], "model": word}))
    hostile = name.replace("/", "")
    arguments = (f"{hostile}={toys / 'a/model'}", f"[bold]{hostile}={lossy}", "--text", f"{name}={path}")
    result = vocabopt("analyze", *arguments, "--out", tmp_path / "out", "--morpheme-documents", 0)
    assert result.exit_code == 0, result.output
    assert "\x1b[2J" not in result.stdout
    assert "\u202e" not in result.stdout
    for file in [tmp_path / "out" / "analyze.html", *(tmp_path / "out" / "figures").glob("*.svg")]:
        text = file.read_text("utf-8")
        assert "<script" not in text
        assert "<b>&amp;" not in text
        assert not {char for char in text if unicodedata.category(char) in ("Cc", "Cf") and char not in "\n\t"}


def test_without_kiwipiepy_morphemes_are_a_dash_and_a_sentence(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    result = vocabopt("analyze", toys / "a" / "model", "--text", f"ko={toys / 'ko.txt'}")
    assert result.exit_code == 0, result.output
    assert "Morphemes need kiwipiepy. In a clone of vocabopt run python -m pip install" in result.stdout
    table = result.stdout.partition("Korean: eojeols and morphemes")[2]
    assert re.search(r"^ ko +model +[\d.]+ +- +- +- *$", table, re.MULTILINE)


def test_text_that_becomes_unknown_is_never_the_best(toys: Path, tmp_path: Path) -> None:
    word = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
    value = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": word}
    written(tmp_path / "words" / "tokenizer.json", json.dumps(value))
    out = tmp_path / "out"
    result = vocabopt(
        "analyze", tmp_path / "words", toys / "a" / "model", "--text", f"ko={toys / 'ko.txt'}", "--out", out
    )
    assert result.exit_code == 0, result.output
    assert "words cannot spell all text. Of its tokens are unknown ones: 100.0 % on ko." in result.stdout
    assert "n best" not in (out / "analyze.html").read_text("utf-8")


def test_the_sample_corpus_is_compared_as_its_languages_are_known_to_be() -> None:
    record = analyze(
        "mistral-7b-v1", "--text", f"ko={CORPUS / 'ko'}", "--text", f"en={CORPUS / 'en'}", "--parity", "en"
    )
    sets = record["tokenizers"][0]["sets"]
    assert record["sets"]["ko"]["is_korean"]
    assert not record["sets"]["en"]["is_korean"]
    assert sets["ko"]["tokens_per_word"] > 3 * sets["en"]["tokens_per_word"]
    assert sets["ko"]["share_words_whole"] < 0.05 < 0.6 < sets["en"]["share_words_whole"]
    assert sets["en"]["parity"] == 1
    assert sets["ko"]["parity"] > 2  # the corpus is parallel


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--text", "ko={ko}"], r"^Error: No tokenizer given\. Name some, for example: vocabopt analyze"),
        (["{a}"], r"^Error: No text given\. Name some with --text NAME=PATH"),
        (["{a}", "--text", "ko.txt"], r"--text ko\.txt: write NAME=PATH"),
        (["{a}", "--text", "ko={ko}", "--text", "ko={en}"], r"--text ko=.*en\.txt: the name 'ko' is given twice"),
        (["{a}", "--text", "ko={ko}.gone"], r"ko\.txt\.gone: no such file or folder"),
        (["{a}", "--text", "ko={ko}", "--rare", "0"], r"--rare 0: must be at least 1"),
        (["{a}", "--text", "ko={ko}", "--morpheme-documents", "-1"], r"--morpheme-documents -1: must be at least 0"),
        (["{a}", "--text", "ko={ko}", "--parity", "de"], r"--parity de: is no text set; there are ko\."),
        (
            ["{a}", "--text", "ko={ko}", "--text", "two={two}", "--parity", "ko"],
            r"--parity ko: has 3 documents, but two has 2 documents\. Parity compares the same documents",
        ),
        (
            ["{a}", "--text", "two={two}", "--text", "none={blank}", "--parity", "two"],
            r"but none has 0 documents and 2 blank or unreadable ones",
        ),
        (
            ["{a}", "{b}", "--text", "ko={ko}"],
            r"/b/model: is called 'model', as .*/a/model is\. Name one of them: NAME=",
        ),
        (["x={a}", "x={b}", "--text", "ko={ko}"], r"/b/model: is called 'x', as"),
        (["={a}", "--text", "ko={ko}"], r"^Error: =.*: the name is missing\. Write NAME=PATH"),
        (["no-such", "--text", "ko={ko}"], r"^Error: no-such: no such base tokenizer"),
        (["new=no-such", "--text", "ko={ko}"], r"^Error: no-such: no such base tokenizer"),
        (["{ko}", "--text", "ko={ko}"], r"ko\.txt: is not a SentencePiece model"),
        (
            ["{a}", "--text", "ko={ko}", "--pattern", "llama3"],
            r"--pattern: is for tiktoken rank files, and no tokenizer",
        ),
        (["{a}", "--text", "ko={ko}", "--encoding", "klingon"], r"--encoding klingon: unknown text encoding"),
        (["{a}", "--text", "ko={ko}", "--encoding", "ascii"], r"ko\.txt"),
        (["{a}", "--text", "ko={ko}", "--out", "{ko}"], r"ko\.txt: is a file, not a folder"),
    ],
)
def test_bad_input_ends_with_one_message_and_exit_code_2(
    toys: Path, tmp_path: Path, arguments: list[str], match: str
) -> None:
    places = {name: toys / f"{name}.txt" for name in ("ko", "en", "two", "blank")}
    places |= {name: toys / name / "model" for name in ("a", "b")}
    filled = [argument.format(**places) for argument in arguments]
    assert_refused(vocabopt("analyze", *filled, "--quiet"), match, tmp_path)


def test_a_folder_of_other_files_is_refused_before_the_work(toys: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    result = vocabopt("analyze", toys / "a" / "model", "--text", f"ko={toys / 'ko.txt'}", "--out", tmp_path, "--quiet")
    assert result.exit_code == 2
    assert "is not empty and holds no analyze.json (found letter.txt)" in result.stderr
