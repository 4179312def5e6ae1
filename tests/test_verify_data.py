"""Verification against figures of others: Chinese-LLaMA on Llama 2, and the hashes in llama.cpp's converter."""

from pathlib import Path

import mistral_common
import pytest

from vocabopt.console import Console
from vocabopt.merging.extension import Scores
from vocabopt.merging.run import merge_vocabulary
from vocabopt.tokenizer import load_base
from vocabopt.verification import Report, VerifyOptions, verify
from vocabopt.verification.checks_settings import SETTINGS
from vocabopt.verification.checks_text import FORMS, OTHER_TEXT, ROUND_TRIP
from vocabopt.verification.checks_vocabulary import (
    BASE_IDS,
    BASE_PIECES,
    REACHABILITY,
    SPECIAL_TOKENS,
    llama_cpp,
)
from vocabopt.verification.pair import Pair

pytestmark = [pytest.mark.data, pytest.mark.slow]


def chinese_llama(data: Path, out: Path, scores: Scores) -> Report:
    """Llama 2 with Chinese-LLaMA's vocabulary appended, as its authors did or with unique scores."""
    path = data / "tok_llama2" / "tokenizer.model"
    merge_vocabulary(
        load_base(str(path)),
        data / "tok_chinese_llama" / "chinese_sp.model",
        out,
        scores=scores,
    )
    options = VerifyOptions(texts={"en": str(Path(__file__).parent.parent / "corpus" / "en")})
    return verify(str(path), str(out), options, Console(quiet=True))


def status(report: Report) -> dict[str, str]:
    return {check.name: check.status for check in report.checks}


def test_pieces_appended_with_score_zero_fail_as_measured_by_others(data: Path, tmp_path: Path) -> None:
    """345 new pieces unreachable and 194 base pieces broken, as sentencepiece has it with the .model."""
    report = chinese_llama(data, tmp_path / "zero", "zero")
    assert (report.scripts, report.scripts_from, report.n_new) == (("Han",), "the new tokens", 17_953)
    failing = {name for name, found in status(report).items() if found == "fail"}
    assert failing == {SETTINGS, BASE_PIECES, OTHER_TEXT, REACHABILITY, FORMS}
    reachable, pieces, settings = (report.check(name).counts for name in (REACHABILITY, BASE_PIECES, SETTINGS))
    assert (reachable["n_unreachable_model"], reachable["n_judged_model"]) == (345, 17_953)
    # tokenizer.json breaks ties by length, then rank, as transformers writes it; sentencepiece by place.
    assert reachable["n_unreachable_json"] == 342
    assert (pieces["n_broken_model"], pieces["n_broken_json"]) == (194, 194)
    assert settings["n_new_merges_ahead"] > 1_000
    assert settings["n_model_pieces_not_below_without_target"] == 721
    assert report.check(FORMS).counts["n_by_new_token (tokenizer.model)"] > 0


def test_unique_scores_break_no_base_piece_and_still_change_other_text(data: Path, tmp_path: Path) -> None:
    report = chinese_llama(data, tmp_path / "unique", "unique")
    found = status(report)
    assert {name for name, each in found.items() if each == "fail"} == {OTHER_TEXT, REACHABILITY}
    assert all(found[name] == "pass" for name in (BASE_IDS, SPECIAL_TOKENS, SETTINGS, BASE_PIECES, ROUND_TRIP, FORMS))
    assert report.check(BASE_PIECES).counts["n_broken_model"] == 0
    reachable = report.check(REACHABILITY).counts
    assert reachable["n_unreachable_json"] == reachable["n_unreachable_model"] == 344


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("tok_gpt2/tokenizer.json", "3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454"),
        ("tok_llama3/tokenizer.model", "0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5"),
        ("tok_qwen/qwen.tiktoken", "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea"),
        ("tekken_240911.json", "63b97e4253352e6f357cc59ea5b583e3a680eaeaf2632188c2b952de2588485e"),
    ],
)
def test_the_hash_is_that_of_llama_cpps_converter(data: Path, file: str, expected: str) -> None:
    folder = Path(mistral_common.__file__).parent / "data" if file.startswith("tekken") else data
    base = load_base(str(folder / file))
    check = llama_cpp(Pair(base=base, new=base, scripts=("Hangul",), scripts_from="test"))
    assert check.summary.startswith(f"hash {expected[:16]}...")
