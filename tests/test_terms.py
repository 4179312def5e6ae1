"""Terms of a list: how each is cut at every size, and where it becomes one token, as merged tokenizers have it."""

from pathlib import Path

import pytest
import tokenizers
from command_line import vocabopt
from conftest import Run, sweep
from helpers import lines_of, merged

import vocabopt as package
from vocabopt.errors import OptionError
from vocabopt.growth.terms import read_terms
from vocabopt.records import TermsRecord, read_record
from vocabopt.run_directory import read_sweep
from vocabopt.tokenizer import Tokenizer

TERMS = ["학교", "사람들", "있습니다", "대한민국", "나는 간다", "뷁", "the", "unseen", "한다.", "있다.", "때", "123"]


@pytest.fixture(scope="module", params=["mistral-7b-v1", "gpt2-like", "qwen2-like"])
def run(request: pytest.FixtureRequest, folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("terms")
    text, terms = folder / "ko.txt", folder / "terms.txt"
    text.write_text("\n".join(lines_of("ko")), encoding="utf-8")
    terms.write_text("\n".join([*TERMS, "", f"  {TERMS[0]} "]), encoding="utf-8")
    base = request.param if request.param == "mistral-7b-v1" else str(folders / request.param)
    return sweep(folder / "run", base, text, terms=str(terms), max_added=1_500, sizes="0,10,400,1500,2000")


def without_prefix(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """The ids of a text in the middle of a line: behind a newline, which no piece of a base here joins to it."""
    whole, before = (tokenizer.encode(part, add_special_tokens=False).ids for part in ("\n" + text, "\n"))
    assert whole[: len(before)] == before
    return whole[len(before) :]


def test_terms_are_cut_as_the_merged_tokenizer_of_each_size_cuts_them(run: Run) -> None:
    found = read_record(run.out / "terms.json", TermsRecord)
    assert [term.term for term in found.terms] == TERMS
    sizes = [0, 10, 400, 1_500]
    assert {*sizes} <= {*found.sizes}
    for size, position in ((size, found.sizes.index(size)) for size in sizes):
        tokenizer = merged(run.base, run.curve, size)
        for term in found.terms:
            for text, cut in ((term.term, term.alone), (" " + term.term, term.after_space)):
                assert len(cut.pieces[position]) == len(without_prefix(tokenizer, text)), (text, size)
                pieces = [piece for piece in cut.pieces[position] if "\\x" not in piece]
                assert all(piece in text for piece in pieces)


def test_the_size_at_which_a_term_becomes_one_token_is_exact(run: Run) -> None:
    found = read_record(run.out / "terms.json", TermsRecord)
    last = merged(run.base, run.curve, len(run.curve))
    n_reached = 0
    for term in found.terms:
        for text, cut in ((term.term, term.alone), (" " + term.term, term.after_space)):
            if cut.one_token_at is None:
                assert len(without_prefix(last, text)) > 1, text
                continue
            assert len(without_prefix(merged(run.base, run.curve, cut.one_token_at), text)) == 1, text
            if cut.one_token_at:
                n_reached += 1
                assert len(without_prefix(merged(run.base, run.curve, cut.one_token_at - 1), text)) == 2, text
    assert n_reached >= 3


def test_a_term_that_is_cut_by_the_base_never_becomes_one_token(run: Run) -> None:
    found = {term.term: term for term in read_record(run.out / "terms.json", TermsRecord).terms}
    cut = found["나는 간다"].after_space
    assert (cut.n_chunks, cut.one_token_at) == (2, None)
    assert found["the"].after_space.one_token_at == 0
    assert found["뷁"].after_space.one_token_at is None


def test_terms_stand_in_the_report_and_in_the_api(run: Run) -> None:
    page = (run.out / "report.html").read_text(encoding="utf-8")
    assert 'id="table-terms"' in page
    frame = package.open(run.out).terms
    assert frame is not None
    assert frame["term"].unique(maintain_order=True).to_list() == TERMS
    row = frame.filter((frame["term"] == "the") & (frame["n_added"] == 0)).row(0, named=True)
    assert (row["pieces_after_space"], row["one_token_after_space_at"]) == ([" the"], 0)


def test_the_terminal_says_of_each_term_when_it_is_one_token(tmp_path: Path, gpt2_like: Tokenizer) -> None:
    text, terms = tmp_path / "ko.txt", tmp_path / "terms.txt"
    text.write_text("\n".join(lines_of("ko")[:300]), encoding="utf-8")
    terms.write_text("the\n나는 간다\n뷁\n", encoding="utf-8")
    options = ("--base", gpt2_like.source, "--out", tmp_path / "run", "--max-added", 50)
    result = vocabopt("sweep", text, "--terms", terms, *options)
    assert result.exit_code == 0
    shown = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "base" in shown["the"]
    assert "never: 2 chunks" in shown["나는"]
    assert "not reached" in shown["뷁"]
    # Another sweep into the folder has another curve: its terms are not shown with it.
    assert vocabopt("sweep", text, *options[:-1], 40).exit_code == 0
    assert package.open(tmp_path / "run").terms is None
    assert read_sweep(tmp_path / "run").max_added == 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no term. Write one a line."),
        (b"\n  \n", "holds no term"),
        ("낱말\n".encode() + "낱말".encode("cp949"), "line 2 is not UTF-8"),
        (b"a\nx<|endoftext|>y\n", "line 2, 'x<|endoftext|>y', holds '<|endoftext|>'"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(
    content: bytes, message: str, tmp_path: Path, gpt2_like: Tokenizer
) -> None:
    path = tmp_path / "terms.txt"
    path.write_bytes(content)
    with pytest.raises(OptionError) as refused:
        read_terms(path, gpt2_like)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_list_is_refused_before_any_work(tmp_path: Path) -> None:
    text = tmp_path / "ko.txt"
    text.write_text("가나다\n", encoding="utf-8")
    result = vocabopt("sweep", text, "--terms", tmp_path / "none.txt", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "none.txt" in result.stderr
    assert not (tmp_path / "run").exists()
