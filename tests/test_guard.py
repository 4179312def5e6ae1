"""What guards other text is said before tokens are grown, kept as facts, and part of verify's verdict."""

import json
import re
import shlex
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from command_line import vocabopt
from helpers import CORPUS, all_ids, library_tokenizer, lines_of, merged

from vocabopt.console import Console
from vocabopt.growth.counts import guard_of
from vocabopt.run_directory import read_sweep
from vocabopt.tokenizer import load_tokenizer
from vocabopt.verification import VerifyOptions, verify
from vocabopt.verification.checks_text import OTHER_TEXT
from vocabopt.verification.checks_widening import random_texts
from vocabopt.verification.text import plain_lines
from vocabopt.wording import guard_sentences

#: No language: Latin letters in words that English lacks, so that tokens of them change few English lines, if any.
LATIN = ["Tôi không biết anh ấy đang ở đâu 1984 và tại sao.", "Chúng tôi sẽ đến vào ngày 20 tháng 1 năm 2021."] * 40
JAPANESE_LINE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"


@pytest.fixture(scope="module")
def latin_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep of Latin text that protects nothing, and what it said."""
    root = tmp_path_factory.mktemp("latin")
    (root / "vi.txt").write_text("\n".join(LATIN), "utf-8")
    result = vocabopt("sweep", root / "vi.txt", "--max-added", 60, "--sizes", "0,60", "--out", root / "run")
    assert result.exit_code == 0, result.stderr
    return root / "run", result.stderr


def test_text_without_a_guard_is_said_before_tokens_are_grown(latin_run: tuple[Path, str]) -> None:
    run, said = latin_run
    warning = r"Warning: nothing guards other text: no target script \(letters of the text: Latin 100\.0%\)"
    found = re.search(warning, said)
    assert found is not None
    assert found.start() < said.index("grow: done")
    assert "--protect en=english.txt" in said
    page = (run / "report.html").read_text("utf-8")
    assert 'id="unguarded"' in page
    assert "nothing guards other text" in page


def test_the_guard_is_kept_as_facts(latin_run: tuple[Path, str]) -> None:
    sweep = json.loads((latin_run[0] / "sweep.json").read_bytes())
    letters = Counter(char for line in LATIN for char in line if char.isalpha())
    guard = sweep["guard"]
    assert guard["scripts"] == sweep["scripts"] == guard["protected_sets"] == []
    assert (guard["scripts_from"], guard["min_script_share"]) == ("text", 0.1)
    assert list(guard["n_letters"]) == ["Latin"]
    # A twentieth of the documents is held out; what is counted is the training text.
    assert 0.8 * letters.total() < guard["n_letters"]["Latin"] <= letters.total()
    assert read_sweep(latin_run[0]).guard.is_open


def test_what_the_guard_leaves_open_of_a_protected_text_is_said_before_tokens_are_grown(tmp_path: Path) -> None:
    """The counts are those of the run's own counts.parquet, as polars sums them."""
    korean = tmp_path / "ko.txt"
    korean.write_text("".join(f"{line} Hangul {i}\n" for i, line in enumerate(lines_of("ko")[:60])), "utf-8")
    common = ("--max-added", 20, "--sizes", "0,20")
    result = vocabopt("sweep", korean, "--protect", f"kop={korean}", *common, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    chunks = pl.read_parquet(tmp_path / "run" / "counts.parquet")
    n_all = int(chunks["n_kop"].sum())
    n_open = int(chunks.filter(pl.col("chunk").str.contains(r"\p{Hangul}"))["n_kop"].sum())
    said = f"Not protected: {n_open:,} of {n_all:,} chunks of kop hold characters of the target script (Hangul)"
    assert 0 < n_open < n_all
    assert result.stderr.count(said) == 1
    assert result.stderr.index(said) < result.stderr.index("grow: done")
    whole = vocabopt(
        "sweep", korean, "--protect", f"kop={korean}", *common, "--script", "none", "--out", tmp_path / "whole"
    )
    assert "Not protected" not in whole.stderr
    kept = json.loads((tmp_path / "whole" / "sweep.json").read_bytes())
    assert kept["points"][-1]["sets"]["kop"]["n_tokens"] == kept["sets"]["kop"]["n_tokens_base"]


@pytest.mark.slow
def test_a_protected_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "vi.txt").write_text("\n".join(LATIN), "utf-8")
    result = vocabopt(
        *("sweep", tmp_path / "vi.txt", "--protect", f"en={CORPUS / 'en'}", "--max-added", 20),
        *("--sizes", "0,20", "--out", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.stderr
    assert "No target script (letters of the text: Latin 100.0%): only what --protect names" in result.stderr
    assert 'id="unguarded"' not in (tmp_path / "run" / "report.html").read_text("utf-8")
    vocabopt("merge", tmp_path / "run", "--out", tmp_path / "new", "--quiet")
    assert json.loads((tmp_path / "new" / "extension.json").read_bytes())["protected_sets"] == ["en"]


@pytest.mark.parametrize("is_folder", [False, True])
@pytest.mark.slow
def test_merge_gives_the_command_that_checks_what_the_sweep_protected(tmp_path: Path, is_folder: bool) -> None:
    """The command is run as it is printed; with it nothing is left to warn of the text."""
    english = tmp_path / "text" / "en" / "a b.txt"
    english.parent.mkdir(parents=True)
    english.write_text("\n".join(line for line in plain_lines() if "\n" not in line), "utf-8")
    (tmp_path / "text" / "vi").mkdir()
    (tmp_path / "text" / "vi" / "vi.txt").write_text("\n".join(LATIN), "utf-8")
    paths = [tmp_path / "text", "--target", "vi"] if is_folder else [tmp_path / "text" / "vi" / "vi.txt"]
    protect = [] if is_folder else ["--protect", f"en={english}"]
    out = tmp_path / "run"
    result = vocabopt("sweep", *paths, *protect, "--max-added", 20, "--sizes", "0,20", "--out", out)
    assert result.exit_code == 0, result.stderr
    merged = vocabopt("merge", out, "--size", 20, "--out", tmp_path / "new")
    assert merged.exit_code == 0, merged.stderr
    (line,) = (line for line in merged.stdout.splitlines() if "Check it with: " in line)
    program, *words = shlex.split(line.partition("Check it with: ")[2])
    assert program == "vocabopt"
    assert words == ["verify", "mistral-7b-v1", str(tmp_path / "new"), "--protect", f"en={english}"]
    checked = vocabopt(*words, "--text", f"vi={tmp_path / 'text' / 'vi'}", "--json")
    assert checked.exit_code == 0, checked.stdout
    check = next(check for check in json.loads(checked.stdout)["checks"] if check["name"] == OTHER_TEXT)
    assert check["counts"]["n_changed (--protect en)"] == 0 < check["counts"]["n_lines (--protect en)"]
    assert "without a target script verify cannot tell which text the new tokens are for" in check["summary"]
    assert check["status"] == ("pass" if not check["counts"]["n_changed (built-in English and code)"] else "warn")


def test_two_languages_in_one_text_are_both_learned_and_named(tmp_path: Path) -> None:
    """Korean and Japanese named together: neither is dropped."""
    (tmp_path / "ko.txt").write_text("\n".join(lines_of("ko")[:60]), "utf-8")
    (tmp_path / "ja.txt").write_text("\n".join(JAPANESE_LINE + str(i) for i in range(120)), "utf-8")
    result = vocabopt(
        *("sweep", tmp_path / "ko.txt", tmp_path / "ja.txt", "--max-added", 200, "--sizes", "0,200"),
        *("--out", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.stderr
    assert re.search(r"Target scripts, of the letters in the text: .*Hangul [\d.]+%", result.stderr)
    guard = json.loads((tmp_path / "run" / "sweep.json").read_bytes())["guard"]
    assert guard["scripts"] == ["Han", "Hangul", "Hiragana", "Katakana"]
    assert result.stderr.index("Target scripts") < result.stderr.index("grow: done")


@pytest.mark.parametrize(
    ("scripts", "text", "protected", "said"),
    [
        (None, "가" * 90 + "a" * 9 + "д", (), r"Hangul 90\.0%\. Not learned: Latin 9\.0%, Cyrillic 1\.0%; to learn "),
        (None, "가" * 90 + "д" * 9 + "a", (), r"to learn Cyrillic too: --script Cyrillic,Hangul\."),
        (None, "a" * 60 + "가" * 40, (), r"Latin 60\.0%, Hangul 40\.0%\).*to learn Hangul alone: --script Hangul\."),
        ((), "가", (), r"no target script \(--script none\) and no --protect"),
        ((), "가", ("en",), r"No target script \(--script none\): only what --protect names .*\(en\)\."),
        (("Hangul",), "abc", (), r"Warning: the text has no letter of Hangul\. Target script, .*: Hangul 0\.0%"),
        (None, "12", (), r"letters of the text: none"),
        (("Han", "Hangul"), "가나漢", (), r"Target scripts, of the letters in the text: Hangul 66\.7%, Han 33\.3%\.$"),
    ],
)
def test_what_is_said_of_a_guard(
    scripts: tuple[str, ...] | None, text: str, protected: tuple[str, ...], said: str
) -> None:
    (sentence,) = guard_sentences(guard_of(scripts, Counter(text), protected))
    assert re.search(said, sentence), sentence


def test_a_share_that_is_none_is_refused(tmp_path: Path) -> None:
    result = vocabopt("sweep", CORPUS / "ko", "--min-script-share", 0, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "--min-script-share 0.0: must be above 0 and at most 1" in result.stderr


# --- The verdict -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tokenizer_that_nothing_guards_is_no_pass(latin_run: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = latin_run
    result = vocabopt("merge", run, "--size", 40, "--out", tmp_path / "new")
    assert result.exit_code == 0, result.stderr
    verdict = next(line for line in result.stdout.splitlines() if line.startswith(("PASS", "WARN:", "FAIL")))
    assert verdict.startswith("WARN: new is mistral-7b-v1 plus 40 new tokens, but 1 of 14 checks warn. Other text")
    before, after = (load_tokenizer(value).full for value in ("mistral-7b-v1", str(tmp_path / "new")))
    assert before is not None
    assert after is not None
    n_changed = sum(before.encode(line).ids != after.encode(line).ids for line in plain_lines())
    assert n_changed > 0  # numbers
    assert f"changed: {n_changed} of {len(plain_lines())} lines of built-in English and code" in verdict
    record = json.loads((tmp_path / "new" / "verify.json").read_bytes())
    assert (record["verdict"], record["passed"]) == ("warn", True)
    check = next(check for check in record["checks"] if check["name"] == OTHER_TEXT)
    assert check["counts"]["n_changed (built-in English and code)"] == n_changed
    assert check["examples"][0]["what"].startswith("tokenizer.json, built-in English and code: ")


@pytest.mark.slow
def test_protected_english_that_changed_fails(latin_run: tuple[Path, str], tmp_path: Path) -> None:
    vocabopt("merge", latin_run[0], "--size", 40, "--out", tmp_path / "new", "--quiet")
    (tmp_path / "en.txt").write_text("\n".join(line for line in plain_lines() if "\n" not in line), "utf-8")
    options = VerifyOptions(protects={"en": str(tmp_path / "en.txt")})
    report = verify("mistral-7b-v1", str(tmp_path / "new"), options, Console(quiet=True))
    assert (report.verdict, report.check(OTHER_TEXT).status) == ("fail", "fail")


def test_a_script_whose_first_bytes_the_guard_forbids_is_named(folders: Path, tmp_path: Path) -> None:
    """E1 B1 begins the letters of Ol Chiki and those of Lepcha: a base that spells both in bytes has no way to tell."""
    (tmp_path / "sat.txt").write_text("".join(f"ᱥᱟᱱᱛᱟᱲᱤ{i}\n" for i in range(40)), encoding="utf-8")
    (tmp_path / "ko.txt").write_text("".join(f"한국어 {i}\n" for i in range(40)), encoding="utf-8")
    base = ("--base", folders / "gpt2-like", "--heldout", "0")
    alone = vocabopt("sweep", tmp_path / "sat.txt", *base, "--out", tmp_path / "alone")
    assert "No token was found for the text. Where there is text enough, the guard is why" in alone.output
    assert "ran dry at 0" not in alone.output.split("Add no tokens")[0]
    texts = ("--text", f"ko={tmp_path / 'ko.txt'}", "--text", f"sat={tmp_path / 'sat.txt'}")
    both = vocabopt("sweep", *texts, *base, "--balance", "parity", "--out", tmp_path / "both")
    assert "No token was found for sat. Where" in both.output
    assert both.exit_code == 0
    free = vocabopt("sweep", tmp_path / "sat.txt", *base, "--script", "none", "--out", tmp_path / "free")
    assert "No token was found" not in free.output
    assert json.loads((tmp_path / "free" / "sweep.json").read_text("utf-8"))["points"][-1]["n_added"] > 0


#: Article 1 of the Universal Declaration of Human Rights, in part; and a character that counts with the script.
SPELLED_IN_BYTES = {
    "Tamil": ("மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்", "\u0b83"),
    "Telugu": ("ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులు", ""),
    "Malayalam": ("മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും", ""),
    "Lao": ("ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ ສິດທິ ເສລີພາບ", ""),
    "Thai": ("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน", "\u0e3f"),
    "Bengali": ("সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে", ""),
    "Georgian": ("ყველა ადამიანი იბადება თავისუფალი და თანასწორი", "\u10fb"),
}


@pytest.mark.parametrize("script", SPELLED_IN_BYTES)
def test_a_script_that_the_base_spells_in_bytes_gains_tokens_and_other_text_keeps_its_ids(
    folders: Path, tmp_path: Path, script: str
) -> None:
    """Other text: 20,000 random strings without the script, most of them of characters that share its first bytes."""
    text, borrowed = SPELLED_IN_BYTES[script]
    words = text.split()
    lines = (" ".join(words[i % len(words) :] + words[: i % 5]) + str(i) for i in range(40))
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "run"
    options = ("--base", folders / "gpt2-like", "--heldout", 0, "--sizes", "0,20", "--max-added", 20, "--out", out)
    result = vocabopt("sweep", tmp_path / "text.txt", *options)
    assert result.exit_code == 0, result.output
    sweep = read_sweep(out)
    assert sweep.scripts == (script,)
    assert sweep.points[-1].n_added == 20
    assert sweep.points[-1].sets["train"].n_tokens < 0.8 * sweep.sets["train"].n_tokens_base
    assert (f"Counted with it: {borrowed} (U+" in result.output) == bool(borrowed)
    base = load_tokenizer(str(folders / "gpt2-like"))
    new = merged(base, pl.read_parquet(out / "curve.parquet"), 20)
    other = list(random_texts((script,), 20_000, has_target=False))
    assert all_ids(new, other) == all_ids(library_tokenizer(folders / "gpt2-like"), other)
