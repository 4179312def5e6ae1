"""Verification: what vocabopt merges passes every check, and each way to spoil it fails the check that names it."""

import copy
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import vocabopt
from conftest import CONFIGS, Run
from helpers import CORPUS, all_ids, has_hangul, library_tokenizer, lines_of
from rich.console import Console as RichConsole
from tokenizers import normalizers
from verification import BUILT_IN, N_ADDED, Json, add_merge, add_token, failed, found, pair_of, verified

from vocabopt.errors import BaseTokenizerError, CorpusError, OptionError, RunDirectoryError
from vocabopt.folder import read_json
from vocabopt.records import read_record, write_record
from vocabopt.text.scripts import contains_target
from vocabopt.tokenizer.hard_strings import LLAMA_CPP_TEXT, hard_strings
from vocabopt.verification import Report
from vocabopt.verification.checks_settings import SETTINGS, TEMPLATES
from vocabopt.verification.checks_text import FORMS, LENGTH, OTHER_TEXT, ROUND_TRIP
from vocabopt.verification.checks_transformers import LOADED
from vocabopt.verification.checks_vocabulary import (
    BASE_IDS,
    BASE_PIECES,
    REACHABILITY,
    SPECIAL_TOKENS,
    SPELLING,
    built_through,
)
from vocabopt.verification.report import failures, report_table

# --- What passes ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_grown_tokenizer_passes_every_check(run: Run) -> None:
    size, n = len(run.curve), run.base.n_tokens
    report = verified(
        run.base.source, run.exported(size), texts={"ko": str(CORPUS / "ko")}, protects={"en": str(CORPUS / "en")}
    )
    statuses = {check.name: check.status for check in report.checks}
    is_builtin = run.base.name not in CONFIGS
    # One file has no template; a tokenizer that comes as tokenizer.json alone has no other form.
    not_checked = {TEMPLATES, LOADED} if is_builtin else {FORMS}
    # The classes that these folders name make something else of them than tokenizer.json says: Qwen2Tokenizer has NFC.
    warned = {LOADED} if run.base.name in ("llama-like", "qwen2-like") else set()
    assert is_builtin or report.check(LOADED).counts["n_different"] == 0
    assert {name for name, status in statuses.items() if status == "not_checked"} == not_checked
    assert {name for name, status in statuses.items() if status == "warn"} == warned
    assert report.verdict == ("warn" if warned else "pass")
    assert report.passed
    assert (report.scripts, report.scripts_from, report.n_new) == (("Hangul",), "extension.json", size)
    lines = [*lines_of("ko"), *lines_of("en"), *BUILT_IN]
    others = [line for line in lines if not contains_target(line, ("Hangul",))]
    counts = report.check(OTHER_TEXT).counts
    assert (counts["n_lines"], counts["n_changed"]) == (len(others), 0)
    assert counts["n_with_target"] == len(lines) - len(others)
    assert counts["n_bytes"] == sum(len(line.encode()) for line in others)
    assert report.check(ROUND_TRIP).counts == {"n_lines": len(lines), "n_changed": 0}
    before, after = (list(map(len, all_ids(each, lines))) for each in (run.base.full, run.tokenizer(size)))
    counts = report.check(LENGTH).counts
    assert (counts["n_lines"], counts["n_longer"], counts["n_tokens_more"]) == (len(lines), 0, 0)
    assert counts["n_shorter"] == sum(new < old for old, new in zip(before, after, strict=True)) > 1_000
    ko = len(lines_of("ko"))
    assert counts["n_tokens_base (--text ko)"] == sum(before[:ko])
    assert counts["n_tokens (--text ko)"] == sum(after[:ko])
    # What the target text uses, counted apart.
    korean = [line for line in lines_of("ko") if has_hangul(line)]
    used = {token for ids in all_ids(run.tokenizer(size), korean) for token in ids}
    parts = {part for pair in run.curve.select("left", "right").rows() for part in pair}
    unused = [n + row for row in range(size) if n + row not in used]
    counts = report.check(REACHABILITY).counts
    assert (counts["n_target_lines"], counts["n_unused"]) == (len(korean), len(unused))
    assert counts["n_scaffold"] == sum(index in parts for index in unused)


def test_without_target_text_scaffold_is_not_checked(folders: Path, grown: dict[str, Path], no_reload: None) -> None:
    check = verified(folders / "llama-like", grown["llama-like"]).check(REACHABILITY)
    assert check.status == "pass"
    assert "scaffold: not checked" in check.summary
    assert "n_scaffold" not in check.counts


def test_a_tokenizer_is_itself_and_no_new_tokens(folders: Path, no_reload: None) -> None:
    report = verified(folders / "qwen2-like", folders / "qwen2-like")
    assert report.passed
    assert report.n_new == 0
    assert report.check(OTHER_TEXT).counts["n_lines"] == len(BUILT_IN)


def test_two_verifications_find_the_same(folders: Path, spoil: Callable[..., Path]) -> None:
    def shuffled(value: Json) -> None:
        value["model"]["merges"].reverse()

    folder = spoil(shuffled)
    first, second = (verified(folders / "llama-like", folder) for _ in range(2))
    assert first.checks == second.checks


# --- What is spoilt, and where it shows -------------------------------------------------------------------------------


def test_two_base_ids_that_changed_places(folders: Path, spoil: Callable[..., Path]) -> None:
    def swap(value: Json) -> None:
        vocab = value["model"]["vocab"]
        vocab["▁the"], vocab["▁and"] = vocab["▁and"], vocab["▁the"]

    check = found(verified(folders / "llama-like", spoil(swap)), BASE_IDS)
    assert check.counts["n_changed"] == 2
    assert {example.base for example in check.examples} == {"'▁the'", "'▁and'"}


def test_a_hole_in_the_new_ids(folders: Path, spoil: Callable[..., Path]) -> None:
    def leave_out(value: Json) -> None:
        vocab = value["model"]["vocab"]
        last = max(vocab, key=vocab.__getitem__)
        vocab[last] += 1

    check = found(verified(folders / "llama-like", spoil(leave_out)), BASE_IDS)
    assert (check.counts["n_changed"], check.counts["n_out_of_order"]) == (0, 2)


def test_two_pieces_with_one_id_are_refused(folders: Path, spoil: Callable[..., Path]) -> None:
    def double(value: Json) -> None:
        value["model"]["vocab"]["▁theq"] = value["model"]["vocab"]["▁the"]

    with pytest.raises(BaseTokenizerError, match=r"2 pieces have the id \d+ \('▁the', '▁theq'\)"):
        verified(folders / "llama-like", spoil(double))


def test_a_special_token_that_moved(folders: Path, spoil: Callable[..., Path]) -> None:
    def swap(value: Json) -> None:
        tokens = {token["content"]: token for token in value["added_tokens"]}
        tokens["<s>"]["id"], tokens["</s>"]["id"] = tokens["</s>"]["id"], tokens["<s>"]["id"]
        vocab = value["model"]["vocab"]
        vocab["<s>"], vocab["</s>"] = vocab["</s>"], vocab["<s>"]
        value["added_tokens"].sort(key=lambda token: token["id"])

    report = verified(folders / "llama-like", spoil(swap))
    assert found(report, SPECIAL_TOKENS).counts["n_changed"] == 2
    assert found(report, BASE_IDS).counts["n_changed"] == 2


@pytest.mark.parametrize("flag", ["special", "lstrip", "content"])
def test_a_special_token_with_another_flag(folders: Path, spoil: Callable[..., Path], flag: str) -> None:
    def change(value: Json) -> None:
        token = value["added_tokens"][-1]
        token[flag] = "<|other|>" if flag == "content" else not token[flag]

    assert found(verified(folders / "qwen2-like", spoil(change, "qwen2-like")), SPECIAL_TOKENS)


def test_another_eos_token_in_the_config(folders: Path, spoil: Callable[..., Path]) -> None:
    folder = spoil(name="qwen2-like")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "eos_token": "<|im_start|>"}), "utf-8")
    (example,) = found(verified(folders / "qwen2-like", folder), SPECIAL_TOKENS).examples
    assert (example.what, example.base, example.new) == ("eos_token", "'<|im_end|>'", "'<|im_start|>'")


def test_a_base_piece_that_became_an_added_token(folders: Path, spoil: Callable[..., Path]) -> None:
    def add(value: Json) -> None:
        token = copy.deepcopy(value["added_tokens"][-1])
        value["added_tokens"].append({**token, "id": value["model"]["vocab"]["the"], "content": "the"})

    report = verified(folders / "qwen2-like", spoil(add, "qwen2-like"))
    assert found(report, SPECIAL_TOKENS).examples[0].base == "no added token"
    assert OTHER_TEXT in failed(report)


def test_a_base_merge_that_is_missing(folders: Path, spoil: Callable[..., Path]) -> None:
    deleted: list[list[str]] = []
    report = verified(folders / "llama-like", spoil(lambda value: deleted.append(value["model"]["merges"].pop(0))))
    check = found(report, SETTINGS)
    assert check.counts["n_merges_lost"] == 1
    assert check.examples[0].what == "merge {!r} + {!r}".format(*deleted[0])
    assert BASE_PIECES in failed(report)


def test_a_base_merge_that_lost_its_place(folders: Path, spoil: Callable[..., Path]) -> None:
    def move(value: Json) -> None:
        merges = value["model"]["merges"]
        merges.insert(0, merges.pop(100))

    check = found(verified(folders / "llama-like", spoil(move)), SETTINGS)
    assert (check.counts["n_merges_moved"], check.counts["n_merges_lost"]) == (1, 0)


def test_a_new_merge_that_is_missing(folders: Path, spoil: Callable[..., Path]) -> None:
    report = verified(folders / "llama-like", spoil(lambda value: value["model"]["merges"].pop()))
    assert failed(report) == {REACHABILITY}
    check = found(report, REACHABILITY)
    assert (check.counts["n_lost_json"], check.counts["n_judged_json"]) == (1, N_ADDED)


def test_a_byte_level_piece_cut_inside_a_character_is_judged_by_its_merges(
    folders: Path, spoil: Callable[..., Path]
) -> None:
    def cut(value: Json) -> None:
        add_token(value, "êº½êº")  # U+AEBD, and the first two bytes of a character

    folder = spoil(cut, "qwen2-like")
    assert found(verified(folders / "qwen2-like", folder), REACHABILITY).counts["n_lost_json"] == 1


@pytest.fixture(scope="module")
def english_pair(folders: Path) -> tuple[str, str]:
    """Two neighbouring tokens of the base in an English line that no merge joins."""
    tokenizer = library_tokenizer(folders / "llama-like")
    left, right = tokenizer.encode(lines_of("en")[0], add_special_tokens=False).tokens[:2]
    assert not has_hangul(left + right)
    return left, right


def test_a_new_merge_behind_those_of_the_base_that_changes_other_text(
    folders: Path, spoil: Callable[..., Path], english_pair: tuple[str, str]
) -> None:
    folder = spoil(add_merge(*english_pair, None))
    report = verified(folders / "llama-like", folder, texts={"en": str(CORPUS / "en")})
    assert failed(report) == {OTHER_TEXT}
    check = found(report, OTHER_TEXT)
    tokenizers = [library_tokenizer(each) for each in (folders / "llama-like", folder)]
    lines = [line for line in lines_of("en") if not has_hangul(line)]
    before, after = (all_ids(tokenizer, lines) for tokenizer in tokenizers)
    n_changed = sum(a != b for a, b in zip(before, after, strict=True))
    assert check.counts["n_changed (--text en)"] == n_changed >= 1
    assert "".join(english_pair) in check.examples[-1].new


def test_a_new_merge_before_those_of_the_base(
    folders: Path, spoil: Callable[..., Path], english_pair: tuple[str, str]
) -> None:
    check = found(verified(folders / "llama-like", spoil(add_merge(*english_pair, 0))), SETTINGS)
    assert check.counts["n_new_merges_ahead"] == 1
    assert check.counts["n_different"] == 1


@pytest.mark.parametrize("method", ["grow", "union", None])
def test_text_that_takes_more_tokens_breaks_the_promise_of_grown_tokens_and_is_counted_for_others(
    method: str | None, folders: Path, spoil: Callable[..., Path]
) -> None:
    """A first merge of "h" and "i" takes the "h" away from "th", so that "this" is not one token any more."""
    folder = spoil(add_merge("h", "i", 0))
    if method is None:
        (folder / "extension.json").unlink()
    else:
        record = json.loads((folder / "extension.json").read_text("utf-8"))
        (folder / "extension.json").write_text(json.dumps({**record, "method": method}), "utf-8")
    lines = ["this thing", "when", "가나다"]
    (folder.parent / "text.txt").write_text("\n".join(lines), "utf-8")
    check = verified(folders / "llama-like", folder, texts={"own": str(folder.parent / "text.txt")}).check(LENGTH)
    every = [*BUILT_IN, *lines]
    encoders = [library_tokenizer(path) for path in (folders / "llama-like", folder)]
    before, after = (list(map(len, all_ids(encoder, every))) for encoder in encoders)
    more = [new - old for old, new in zip(before, after, strict=True) if new > old]
    assert more
    assert after[-3] > before[-3]
    assert (check.counts["n_longer"], check.counts["n_tokens_more"]) == (len(more), sum(more))
    assert check.counts["n_tokens (--text own)"] == sum(after[-3:])
    assert check.status == ("fail" if method == "grow" else "not_checked")
    told = {"grow": "fewer", "union": "not promised of a union", None: "not promised of tokenizers made elsewhere"}
    assert check.summary.endswith(told[method])
    assert ", --text own 1), " in check.summary
    assert check.examples[0].what.startswith("'this thing'")


def test_a_new_merge_before_those_of_the_base_may_be_of_the_target(folders: Path, spoil: Callable[..., Path]) -> None:
    def move(value: Json) -> None:
        value["model"]["merges"].insert(0, value["model"]["merges"].pop())

    assert SETTINGS not in failed(verified(folders / "llama-like", spoil(move)))


def test_without_a_guard_only_protected_text_is_judged(
    folders: Path, spoil: Callable[..., Path], english_pair: tuple[str, str]
) -> None:
    base, folder, english = folders / "llama-like", spoil(add_merge(*english_pair, None)), str(CORPUS / "en")
    (folder / "extension.json").unlink()  # which says that the sweep protected English
    report = verified(base, folder, texts={"en": english}, scripts="none")
    assert (report.scripts, report.scripts_from) == ((), "--script")
    check = report.check(OTHER_TEXT)
    assert (check.status, report.verdict, report.passed) == ("warn", "warn", True)
    assert check.counts["n_not_judged"] == len(BUILT_IN) + len(lines_of("en"))
    assert check.counts["n_not_judged_changed"] >= 1
    check = found(verified(base, folder, protects={"en": english}, scripts="none"), OTHER_TEXT)
    assert check.counts["n_lines (--protect en)"] == len(lines_of("en"))


@pytest.mark.parametrize("part", ["normalizer", "byte_fallback", "fuse_unk", "ignore_merges", "decoder", "truncation"])
def test_a_setting_that_changed(folders: Path, spoil: Callable[..., Path], part: str) -> None:
    def change(value: Json) -> None:
        if part == "normalizer":
            value["normalizer"]["normalizers"].insert(0, {"type": "NFC"})
        elif part == "decoder":
            value["decoder"]["decoders"].pop()
        elif part == "truncation":
            value["truncation"] = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
        else:
            value["model"][part] = not value["model"][part]

    report = verified(folders / "llama-like", spoil(change))
    check = found(report, SETTINGS)
    assert [example.what for example in check.examples] == [part]
    also = {"normalizer": {OTHER_TEXT, ROUND_TRIP}, "byte_fallback": {OTHER_TEXT, ROUND_TRIP}, "decoder": {ROUND_TRIP}}
    assert also.get(part, set()) <= failed(report)
    if part == "decoder":
        assert found(report, ROUND_TRIP).counts["n_changed"] > 1_000


def test_a_new_token_spelled_like_one_of_the_base(folders: Path, spoil: Callable[..., Path]) -> None:
    report = verified(folders / "llama-like", spoil(lambda value: add_token(value, " the")))
    (example,) = found(report, SPELLING).examples
    assert example.what == "' the'"
    assert "▁the" in example.base


def test_an_added_token_spelled_like_another(folders: Path, spoil: Callable[..., Path]) -> None:
    """What the added token spells as text, "한" in the vocabulary spells as bytes."""

    def add(value: Json) -> None:
        assert "íķľ" in value["model"]["vocab"]
        token = {**value["added_tokens"][-1], "id": max(value["model"]["vocab"].values()) + 1, "content": "한"}
        value["added_tokens"].append({**token, "special": False})

    check = found(verified(folders / "qwen2-like", spoil(add, "qwen2-like")), SPELLING)
    assert (check.counts["n_twice"], check.examples[0].what) == (1, "'한'")


# --- Options, records, the table --------------------------------------------------------------------------------------


def test_what_cannot_be_used_is_refused(folders: Path, grown: dict[str, Path], spoil: Callable[..., Path]) -> None:
    base, new = folders / "llama-like", grown["llama-like"]
    with pytest.raises(OptionError, match="--pattern: is for tiktoken rank files, and neither"):
        verified(base, new, pattern="llama3")
    with pytest.raises(OptionError, match="--script 'Hangull': 'Hangull' is not a Unicode script"):
        verified(base, new, scripts="Hangull")
    with pytest.raises(CorpusError, match="nowhere: no such file"):
        verified(base, new, texts={"ko": "nowhere"})
    with pytest.raises(OptionError, match="--encoding klingon"):
        verified(base, new, encoding="klingon")
    with pytest.raises(BaseTokenizerError, match="nowhere: no such base tokenizer"):
        verified("nowhere", new)
    folder = spoil()
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(BaseTokenizerError, match=r"is not a tokenizer\.json"):
        verified(base, folder)


def test_scripts_of_extension_json_are_checked(folders: Path, spoil: Callable[..., Path]) -> None:
    folder = spoil()
    path = folder / "extension.json"
    path.write_text(path.read_text("utf-8").replace('"Hangul"', '"Hangull"'), "utf-8")
    with pytest.raises(RunDirectoryError, match=r"extension\.json: field scripts: .*'Hangull' is not a Unicode script"):
        verified(folders / "llama-like", folder)
    assert pair_of(folders / "llama-like", folder, "Hangul").scripts_from == "--script"
    path.unlink()
    pair = pair_of(folders / "llama-like", folder)
    assert (pair.scripts, pair.scripts_from) == (("Hangul",), "the new tokens")


def test_verify_json_holds_what_was_checked(folders: Path, spoil: Callable[..., Path], tmp_path: Path) -> None:
    folder = spoil(lambda value: value["model"]["merges"].pop())
    report = verified(folders / "llama-like", folder, texts={"en": str(CORPUS / "en")})
    write_record(tmp_path / "verify.json", report)
    record = read_json(tmp_path / "verify.json", next_step="")
    assert read_record(tmp_path / "verify.json", Report) == report
    assert record["passed"] is False
    assert record["base"]["source"] == str(folders / "llama-like")
    assert record["new"]["sha256"]
    assert record["scripts"] == ["Hangul"]
    assert len(record["checks"]) == 14
    for check in record["checks"]:
        assert check.keys() == {"name", "status", "summary", "counts", "examples"}
        assert check["status"] in ("pass", "fail", "warn", "not_checked")
        assert all(type(count) is int for count in check["counts"].values())
        assert len(check["examples"]) <= 3
    assert record["versions"].keys() >= {"vocabopt", "tokenizers", "sentencepiece", "python"}
    assert record["seconds"]["total"] > 0
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        write_record(tmp_path / "file" / "verify.json", report)


def test_the_table_shows_each_check_and_examples_of_each_failure(folders: Path, spoil: Callable[..., Path]) -> None:
    folder = spoil(lambda value: value["model"]["merges"].pop())
    report = verified(folders / "llama-like", folder)
    console = RichConsole(file=io.StringIO(), width=200)
    console.print(report_table(report))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert [shown.count(word) for word in ("PASS", "FAIL")] == [10, 1]
    assert all(check.name in shown for check in report.checks)
    lines = failures(report)
    assert lines[0] == f"FAIL  {REACHABILITY}"
    assert [line[:10] for line in lines[2:4]] == ["    base: ", "    new:  "]
    assert lines[-1] == "FAIL: 1 of 14 checks. Not checked: 3."
    assert failures(verified(folders / "llama-like", folders / "llama-like")) == [
        "PASS: llama-like is llama-like with no token added. Not checked: 3."
    ]


def test_names_that_look_like_markup_are_shown_as_they_are(folders: Path, tmp_path: Path, no_reload: None) -> None:
    shutil.copytree(folders / "llama-like", tmp_path / "[red]")
    console = RichConsole(file=io.StringIO(), width=200)
    console.print(report_table(verified(folders / "llama-like", tmp_path / "[red]")))
    assert "[red] against llama-like" in console.file.getvalue()  # type: ignore[attr-defined]


def test_pieces_on_the_way_to_a_piece_by_hand() -> None:
    ranks = {("a", "b"): 0, ("b", "c"): 1, ("ab", "c"): 2, ("abc", "abc"): 3}

    def rank(left: str, right: str) -> float | None:
        return ranks.get((left, right))

    assert built_through("abcabc", rank) == ["ab", "ab", "abc", "abc", "abcabc"]
    assert built_through("bcd", rank) == ["bc"]
    assert built_through("x", rank) == []


def test_the_built_in_lines_are_text_of_every_kind() -> None:
    lines = hard_strings()
    assert len(set(lines)) == len(lines) > 1_000
    assert LLAMA_CPP_TEXT in lines
    for line in lines:
        line.encode()
    text = "".join(lines)
    for needed in ("\0", "\u2581", "\ufeff", "\u3000", "\u200d", "\u1100", "\u0301", "\ud7ff", "\ue000", "\u202e"):
        assert needed in text
    assert any(normalizers.NFC().normalize_str(line) != line for line in lines)


def test_an_output_that_is_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    result = vocabopt("verify", "mistral-7b-v1", "mistral-7b-v1", "--out", tmp_path)
    assert result.exit_code == 2
    assert f"--out {tmp_path}: is a folder. Name the file to write" in result.stderr
