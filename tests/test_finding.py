"""Each file once whatever leads to it, folders that hold results, files left out, names that are not UTF-8."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from command_line import assert_refused, vocabopt, written

from vocabopt.errors import CorpusError, OptionError, listen
from vocabopt.text.corpus import corpus_set, find_text_sets, fingerprint, named_set, tell_same_content
from vocabopt.text.finding import expanded, find
from vocabopt.text.readers import ReadOptions, read_blocks
from vocabopt.text.utf8 import printable

KOREAN = "나는 학교에 갔다.\n"


@pytest.fixture
def told() -> Iterator[list[str]]:
    sentences: list[str] = []
    listen(sentences.append)
    yield sentences
    listen(None)


def train(path: Path | str) -> list[str]:
    return [file.url for file in find_text_sets([str(path)], target=None, evals={}, protects={})[0].files]


def evaluated(path: Path | str) -> list[str]:
    return [file.url for file in named_set("x", str(path), "eval").files]


def corpus(path: Path | str) -> list[str]:
    return [file.url for file in corpus_set("x", str(path)).files]


#: PATH; --eval, --protect, --text, --reference, benchmarks; sensitivity, adapt.
ENTRANCES = pytest.mark.parametrize("urls_of", [train, evaluated, corpus])


# --- Each file once --------------------------------------------------------------------------------------------------


@ENTRANCES
def test_links_that_lead_in_circles_end(tmp_path: Path, urls_of: Callable[[Path | str], list[str]]) -> None:
    for name in ("a.txt", "x/b.txt", "x/y/c.txt"):
        written(tmp_path / "in" / name, KOREAN)
    (tmp_path / "in/x/up").symlink_to("..")
    (tmp_path / "in/x/y/root").symlink_to(tmp_path / "in")
    (tmp_path / "in/aa").symlink_to("x")
    (tmp_path / "in/above").symlink_to("..")
    written(tmp_path / "other.txt", KOREAN)
    wanted = [f"{tmp_path}/in/{name}" for name in ("a.txt", "x/b.txt", "x/y/c.txt")]
    assert urls_of(tmp_path / "in") == wanted
    assert urls_of(f"{tmp_path}/in/**") == wanted
    assert urls_of(f"{tmp_path}/in/**/*.txt") == wanted
    assert urls_of(f"{tmp_path}/**/y/*.txt") == wanted[2:]


@ENTRANCES
def test_two_names_of_one_file_are_refused(tmp_path: Path, urls_of: Callable[[Path | str], list[str]]) -> None:
    written(tmp_path / "hard/a.txt", KOREAN)
    os.link(tmp_path / "hard/a.txt", tmp_path / "hard/b.txt")
    written(tmp_path / "soft/a.txt", KOREAN)
    (tmp_path / "soft/b.txt").symlink_to("a.txt")
    for name in ("hard", "soft"):
        for path in (tmp_path / name, f"{tmp_path}/{name}/*", f"{tmp_path}/{name}/**"):
            with pytest.raises(OptionError, match=r"b\.txt: this file is named twice \(it is \S*a\.txt\)"):
                urls_of(path)


def test_other_spellings_of_a_file_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "x/a.txt", KOREAN)
    monkeypatch.chdir(tmp_path / "x")
    for other in ("./a.txt", "../x/a.txt", f"{tmp_path}/x//a.txt", "file://" + str(tmp_path / "x/a.txt")):
        with pytest.raises(OptionError, match="this file is named twice"):
            find_text_sets(["a.txt", other], target=None, evals={}, protects={})


def test_double_stars_give_what_the_shell_gives_where_there_are_no_links(tmp_path: Path) -> None:
    import glob

    for name in ("a.txt", "b/c.txt", "b/d/e.txt", "b/d/f.md", ".h/g.txt", "b/.i.txt"):
        written(tmp_path / name, KOREAN)
    for pattern in ("**/*.txt", "**/*", "b/**/*.txt", "*/**/e.txt", "**/d/*", "**/d/**/*.md", "**/"):
        matches = sorted(glob.glob(f"{tmp_path}/{pattern}", recursive=True))
        folders = [match for match in matches if os.path.isdir(match)]
        nested = [m for m in matches if any(m != f and m.startswith(f.rstrip("/") + "/") for f in folders)]
        expected = [match.rstrip("/") for match in matches if match not in nested]
        assert [match.rstrip("/") for match in expanded(f"{tmp_path}/{pattern}")] == expected, pattern


def test_a_file_in_two_sets_is_told(tmp_path: Path, told: list[str]) -> None:
    path = str(written(tmp_path / "a.txt", KOREAN))
    find_text_sets([path], target=None, evals={"news": path}, protects={})
    learned = "Tokens are learned from it, so figures of news are not figures of unseen text."
    assert told == [f"{path}: is text of the set text and of the set news. {learned}"]


def test_sub_folders_that_become_one_set_are_told_where_they_differ_in_script(tmp_path: Path, told: list[str]) -> None:
    for folder, text in (("train", KOREAN), ("test", "I went to school.\n"), ("dev", KOREAN)):
        written(tmp_path / "mixed" / folder / "a.txt", text)
        written(tmp_path / "alike" / folder / "a.txt", KOREAN)
    assert len(train(tmp_path / "alike")) == 3
    assert told == []
    assert len(train(tmp_path / "mixed")) == 3
    assert len(told) == 1
    assert "all are the one text set text, though they begin in different scripts" in told[0]
    assert "(Hangul: dev, train; Latin: test)" in told[0]


def test_two_files_of_the_same_content_are_told_once_for_each_set(tmp_path: Path, told: list[str]) -> None:
    for name in ("a.txt", "copies/b.txt", "copies/c.txt"):
        written(tmp_path / name, KOREAN)
    written(tmp_path / "empty.txt", "")
    written(tmp_path / "copies/empty.txt", "")
    copy, english = written(tmp_path / "other" / "x.txt", KOREAN), written(tmp_path / "other" / "en.txt", "Hello.\n")
    paths = [str(tmp_path / name) for name in ("a.txt", "empty.txt", "copies")]
    sets = find_text_sets(paths, target=None, evals={"news": str(copy)}, protects={"en": str(english)})
    tell_same_content(sets, {file.url: fingerprint(file) for text_set in sets for file in text_set.files})
    assert len(told) == 2
    a, b, c = (tmp_path / name for name in ("a.txt", "copies/b.txt", "copies/c.txt"))
    assert told[0].startswith(f"Text set text: files with the content of another one: 2 ({b} is {a}, {c} is {a}). ")
    assert told[1].startswith(f"Text set news: files with the content of a file of the set text: 1 ({copy} is {a}). ")
    assert told[1].endswith("figures of news are not figures of unseen text.")


def test_a_sweep_tells_files_of_the_same_content_and_files_in_two_sets(tmp_path: Path) -> None:
    """Standard error of the command itself, which is no terminal here."""
    text = "".join(f"{KOREAN.strip()} {i}\n" for i in range(60))
    one, two = written(tmp_path / "a.txt", text), written(tmp_path / "copy" / "a.txt", text)
    options = ("--eval", f"koh={one}", "--max-added", 5, "--out")
    result = vocabopt("sweep", one, two, *options, tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    assert f"{one}: is text of the set text and of the set koh. Tokens are learned from it" in result.stderr
    assert f"Text set text: files with the content of another one: 1 ({two} is {one})." in result.stderr
    quiet = vocabopt("sweep", one, two, *options, tmp_path / "quiet", "--quiet")
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_a_pipe_in_a_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(CorpusError, match=r"a\.txt: is no file"):
        train(tmp_path)


# --- What a folder gives ---------------------------------------------------------------------------------------------


def test_files_that_may_hold_text_and_are_left_out_are_told_once(tmp_path: Path, told: list[str]) -> None:
    for name in ("a.txt", "b.md", "c.csv", "d.json", "e.png", "x/f.jsonl.bz2"):
        written(tmp_path / name, KOREAN)
    assert [Path(url).name for url in train(tmp_path)] == ["a.txt"]
    train(tmp_path)
    assert len(told) == 1
    assert "4 files that may hold text are left out (b.md, c.csv, d.json, ...)" in told[0]


def test_a_format_chooses_the_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.txt", "b.csv", "c.csv.gz", "d.json", "e.jsonl", "f.parquet"):
        written(tmp_path / name, KOREAN)
    for text_format, names in {
        "auto": ["a.txt", "e.jsonl", "f.parquet"],
        "csv": ["b.csv", "c.csv.gz"],
        "json": ["d.json"],
        "text": ["a.txt"],
    }.items():
        assert [Path(file.url).name for file in find(str(tmp_path), text_format)] == names
    with pytest.raises(CorpusError, match=r"no text in this folder; looked for files whose suffix says tsv"):
        find(str(tmp_path), "tsv")


def test_the_results_of_a_run_are_no_text(tmp_path: Path, told: list[str]) -> None:
    written(tmp_path / "in/a.txt", KOREAN * 40)
    run = tmp_path / "in/out"
    few = ("--out", run, "--heldout", "0", "--max-added", 20)
    first = vocabopt("sweep", tmp_path / "in", *few, "--quiet")
    assert first.exit_code == 0, first.output
    assert list(run.glob("*.parquet"))
    again = vocabopt("sweep", tmp_path / "in", *few)
    assert again.exit_code == 0, again.output
    assert "out: holds the results of a run (run.json), no text; left out." in again.stderr
    inputs = json.loads((run / "run.json").read_text("utf-8"))["inputs"]
    assert [entry["url"] for entry in inputs] == [f"{tmp_path}/in/a.txt"]
    # As the shell expands in/*: the folder is named, and refused.
    refused = vocabopt("sweep", tmp_path / "in/a.txt", run, "--out", tmp_path / "other")
    assert_refused(refused, r"in/out: holds the results of a run \(run\.json\)", tmp_path / "other")


def test_of_a_prepared_folder_among_the_text_only_the_clean_text_is_read(tmp_path: Path) -> None:
    written(tmp_path / "in/a.txt", KOREAN)
    source = written(tmp_path / "b.txt", "하나\n하나\n둘\n")
    done = vocabopt("prepare", source, "--steps", "exact", "--out", tmp_path / "in/clean-ko")
    assert done.exit_code == 0, done.output
    assert [url.removeprefix(str(tmp_path)) for url in train(tmp_path / "in")] == [
        "/in/a.txt",
        "/in/clean-ko/clean/000000.jsonl.zst",
    ]


def test_prepare_does_not_read_its_own_result(tmp_path: Path) -> None:
    source = written(tmp_path / "in/a.txt", KOREAN)
    out = tmp_path / "in/out"
    assert vocabopt("prepare", source, "--steps", "exact", "--out", out).exit_code == 0
    again = vocabopt("prepare", source, out, "--steps", "exact", "--out", out)
    assert again.exit_code == 2
    assert "is " in again.stderr
    assert "would be read as text the next time" in again.stderr


# --- Names that are not UTF-8 ----------------------------------------------------------------------------------------

NAME = "한글".encode("cp949")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder and files in it as an archive from Windows leaves them."""
    folder = os.fsencode(tmp_path) + b"/" + NAME
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes no such names")
    path = Path(os.fsdecode(folder))
    written(path / os.fsdecode(NAME + b".txt"), KOREAN * 30)
    pl.DataFrame({"text": ["가나다"]}).write_parquet(tmp_path / "a.parquet")
    os.rename(tmp_path / "a.parquet", folder + b"/" + NAME + b".parquet")
    return path


def test_a_name_is_shown_byte_by_byte(odd: Path) -> None:
    assert printable(odd).endswith(r"\xc7ѱ\xdb")
    assert printable(odd).encode("utf-8")
    assert printable("한글.txt") == "한글.txt"


@ENTRANCES
def test_text_is_read_under_such_names(odd: Path, urls_of: Callable[[Path | str], list[str]]) -> None:
    for path in (odd, f"{odd}/*", f"{odd.parent}/**/*.*", odd.parent):
        urls = urls_of(path)
        assert len(urls) == 2
        for file in named_set("x", str(path), "eval").files:
            documents = [d for block in read_blocks(file, ReadOptions()) for d in block.documents]
            assert documents == ([KOREAN.strip()] * 30 if file.url.endswith("txt") else ["가나다"])


def test_such_names_go_through_sweep_and_prepare(odd: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ("--eval", f"x={odd}/{os.fsdecode(NAME)}.txt", "--max-added", 20)
    swept = vocabopt("sweep", odd.parent, *given, "--out", out, "--quiet")
    assert swept.exit_code == 0, swept.output
    urls = [entry["url"] for entry in json.loads((out / "run.json").read_bytes().decode("utf-8"))["inputs"]]
    assert len(urls) == 3
    assert all(url.startswith(printable(odd)) for url in urls)
    prepared = vocabopt("prepare", odd.parent / os.fsdecode(NAME), "--steps", "exact", "--out", tmp_path / "clean")
    assert prepared.exit_code == 0, prepared.output
    assert prepared.stdout.encode("utf-8")
    (path,) = (tmp_path / "clean/clean").iterdir()
    assert path.stat().st_size
    record = json.loads((tmp_path / "clean/prepare.json").read_bytes().decode("utf-8"))
    assert {file["url"] for file in record["files"]} == set(urls)


def test_a_missing_file_of_such_a_name_is_told(odd: Path, tmp_path: Path) -> None:
    refused = vocabopt("sweep", odd / "gone.txt", "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "gone.txt: no such file or folder" in refused.stderr


def test_a_dead_link_is_told_with_what_it_leads_to(tmp_path: Path) -> None:
    folder = written(tmp_path / "in/a.txt", "a\n").parent
    (folder / "b.txt").symlink_to("gone.txt")
    for path in (folder, folder / "b.txt"):
        with pytest.raises(CorpusError, match=r"in/b\.txt: is a link to what is not there: gone\.txt\. "):
            find(str(path))
