"""Verification of what lies in a folder: templates, the publisher's forms, transformers, llama.cpp, other kinds."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TEMPLATE
from helpers import CORPUS, lines_of, train_sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from verification import BUILT_IN, Json, add_merge, add_token, failed, found, pair_of, verified

from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.tokenizer.sentencepiece_model import extended_model, read_model
from vocabopt.verification.checks_settings import SETTINGS, TEMPLATES, chat_templates
from vocabopt.verification.checks_text import FORMS, OTHER_TEXT
from vocabopt.verification.checks_transformers import RELOAD
from vocabopt.verification.checks_vocabulary import (
    BASE_IDS,
    BASE_PIECES,
    LLAMA_CPP,
    REACHABILITY,
)

# --- Templates, files, transformers, llama.cpp ------------------------------------------------------------------------


def test_a_chat_template_that_renders_otherwise(folders: Path, spoil: Callable[..., Path]) -> None:
    folder = spoil()
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("[", "<"), "utf-8")
    report = verified(folders / "llama-like", folder)
    assert failed(report) == {TEMPLATES}
    example = found(report, TEMPLATES).examples[0]
    assert (example.what, example.base) == ("default: user", repr("[user] Hello, who are you?\n"))


def test_a_chat_template_written_in_another_way_renders_the_same(folders: Path, spoil: Callable[..., Path]) -> None:
    folder = spoil()
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    config["chat_template"] = "{%- for m in messages -%}\n[{{ m['role'] }}] {{ m['content'] + '\\n' }}\n{%- endfor -%}"
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    assert chat_templates(pair_of(folders / "llama-like", folder)).status == "pass"


def test_a_chat_template_that_is_missing_or_one_too_many(folders: Path, spoil: Callable[..., Path]) -> None:
    folder = spoil()
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools | tojson }}", "utf-8")
    check = chat_templates(pair_of(folders / "llama-like", folder))
    (example,) = check.examples
    assert (check.status, example.what, example.new) == ("fail", "tool_use", "has this template")
    (folder / "chat_template.jinja").unlink()
    check = chat_templates(pair_of(folders / "llama-like", folder))
    assert [example.what for example in check.examples] == ["default", "tool_use"]


def test_templates_that_raise_must_raise_the_same(folders: Path, spoil: Callable[..., Path], tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(folders / "llama-like", base)
    folder = spoil()
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ bos_token }}"
    (base / "chat_template.jinja").write_text(strict, "utf-8")
    (folder / "chat_template.jinja").write_text(strict.replace("{{ bos_token }}", "<s>"), "utf-8")
    assert chat_templates(pair_of(base, folder)).status == "pass"
    (folder / "chat_template.jinja").write_text("{{ bos_token }}", "utf-8")
    check = chat_templates(pair_of(base, folder))
    assert check.status == "fail"
    assert check.examples[0].base == repr("TemplateError: no system")


def test_a_lone_file_cannot_say_what_template_it_has(folders: Path, grown: dict[str, Path], no_reload: None) -> None:
    report = verified(folders / "llama-like" / "tokenizer.json", grown["llama-like"])
    assert report.check(TEMPLATES).status == "warn"
    assert report.passed


def test_a_model_file_with_other_scores_disagrees(grown: dict[str, Path], spoil: Callable[..., Path]) -> None:
    folder = spoil(name="model-like")
    base = grown["model-like"].parent.parent / "tokenizer.model"
    data, pieces = (
        base.read_bytes(),
        [piece.piece for piece in read_model((folder / "tokenizer.model").read_bytes()).pieces],
    )
    n = len(read_model(data).pieces)
    assert verified(base, folder).check(FORMS).status == "pass"
    (folder / "tokenizer.model").write_bytes(extended_model(data, pieces[n:], first_id=n, zero=True))
    report = verified(base, folder, texts={"ko": str(CORPUS / "ko")})
    assert FORMS in failed(report)
    check = found(report, FORMS)
    assert check.counts["n_by_new_token (tokenizer.model)"] == check.counts["n_different (tokenizer.model)"] > 0
    # Every new piece holds Hangul, so that its score is no danger to other text.
    assert OTHER_TEXT not in failed(report)
    assert SETTINGS not in failed(report)
    assert report.check(SETTINGS).counts["n_model_pieces_not_below"] > 0


@pytest.mark.slow
def test_a_rank_file_is_read_by_tiktoken(
    grown: dict[str, Path], spoil: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, base = spoil(name="ranks-like"), grown["ranks-like"].parent.parent / "small.tiktoken"
    texts = {name: str(CORPUS / name) for name in ("ko", "en")}
    options = {"pattern": GPT2_PATTERN, "specials": "none", "texts": texts}
    report = verified(base, folder, **options)
    assert report.passed
    n_lines = len(lines_of("ko")) + len(lines_of("en")) + len(BUILT_IN)
    assert report.check(FORMS).counts["n_lines (tiktoken)"] == n_lines
    assert report.base.written == "tiktoken"
    lines = (folder / "small.tiktoken").read_bytes().splitlines()
    first, last = (line.split()[0] for line in (lines[300], lines[-1]))
    lines[300], lines[-1] = lines[300].replace(first, last), lines[-1].replace(last, first)
    (folder / "small.tiktoken").write_bytes(b"\n".join(lines))
    report = verified(base, folder, **options)
    assert found(report, SETTINGS).counts["n_ranks_changed"] == 1
    assert {FORMS, OTHER_TEXT} <= failed(report)
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    check = verified(base, folder, **options).check(FORMS)
    assert (check.status, check.summary) == ("not_checked", "tiktoken not checked: pip install tiktoken")


def test_a_config_that_makes_transformers_rebuild_the_tokenizer(
    folders: Path, grown: dict[str, Path], tmp_path: Path
) -> None:
    """LlamaTokenizer makes a pipeline of its own, of the base as well: a lone tokenizer.json excuses nothing."""
    shutil.copytree(grown["llama-like"], tmp_path / "new")
    path = tmp_path / "new" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "tokenizer_class": "LlamaTokenizer"}), "utf-8")
    report = verified(folders / "llama-like" / "tokenizer.json", tmp_path / "new")
    assert failed(report) == {RELOAD}
    n_different = found(report, RELOAD).counts["n_different"]
    check = verified(folders / "llama-like", tmp_path / "new").check(RELOAD)
    assert check.status == "warn"
    assert check.counts["n_base_as_well"] == n_different > 0


def test_without_transformers_the_reload_is_not_checked(folders: Path, grown: dict[str, Path], no_reload: None) -> None:
    report = verified(folders / "llama-like", grown["llama-like"])
    check = report.check(RELOAD)
    assert (check.status, report.passed) == ("not_checked", True)
    assert "python -m pip install -c constraints.txt -e '.[verify]'" in check.summary


def test_llama_cpp_may_see_target_text_change_and_no_other(folders: Path, spoil: Callable[..., Path]) -> None:
    """Its fixed text holds Cyrillic: a new token for it changes the hash, and the remedy is named."""
    left, right = "Ð½", "Ðµ"

    def add(value: Json) -> None:
        for piece in (left, right):
            add_token(value, piece) if piece not in value["model"]["vocab"] else None
        value["model"]["merges"] += [pair for pair in (["Ð", "½"], ["Ð", "µ"]) if pair not in value["model"]["merges"]]
        add_merge(left, right, None)(value)

    folder = spoil(add, "qwen2-like")
    check = verified(folders / "qwen2-like", folder, scripts="Cyrillic,Hangul").check(LLAMA_CPP)
    assert check.status == "warn"
    assert "get_vocab_base_pre" in check.summary
    assert LLAMA_CPP in failed(verified(folders / "qwen2-like", folder, scripts="Hangul"))


# --- Tokenizers that cannot be grown ----------------------------------------------------------------------------------


def test_tied_scores_are_judged_by_sentencepiece_itself(tmp_path: Path) -> None:
    data = train_sentencepiece(lines_of("en"), 1_000)
    known = [piece.piece for piece in read_model(data).pieces if piece.type == 1]
    # Two letters inside a piece of the base, which no piece joins: with the score 0 they are joined first.
    inside = (piece[i : i + 2] for piece in known if len(piece) > 3 for i in range(1, len(piece) - 1))
    pieces = [next(pair for pair in inside if pair not in known), "나가", "가다", "나가다라"]
    for name in ("base", "tied"):
        (tmp_path / name).mkdir()
        value = data if name == "base" else extended_model(data, pieces, first_id=1_000, zero=True)
        (tmp_path / name / "tokenizer.model").write_bytes(value)
    report = verified(tmp_path / "base", tmp_path / "tied", scripts="Hangul")
    assert "no tokenizer.json encodes as this model does: '\\x01나가' is" in str(report.new.refusal)
    assert found(report, BASE_PIECES).counts["n_broken_model"] >= 1
    # No two pieces make the last one: 나가 takes the letters of 가다.
    assert found(report, REACHABILITY).counts["n_lost_model"] == 1
    assert found(report, SETTINGS).counts["n_model_pieces_not_below_without_target"] == 1
    assert report.check(RELOAD).status == report.check(FORMS).status == "not_checked"


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "json-unigram"])
def test_other_kinds_of_tokenizers_are_compared(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tokenizer.json"
    if kind == "unigram":
        path = tmp_path / "tokenizer.model"
        path.write_bytes(train_sentencepiece(lines_of("en"), 800, model_type="unigram", byte_fallback=False))
    else:
        path.write_text(_other_tokenizer(kind).to_str(), "utf-8")
    report = verified(path, path)
    assert report.passed
    assert report.base.refusal
    assert report.check(OTHER_TEXT).counts["n_lines"] == len(BUILT_IN)


def _other_tokenizer(kind: str) -> Tokenizer:
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=800, special_tokens=["[UNK]"], show_progress=False)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=800, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        )
    tokenizer.train_from_iterator(lines_of("en"), trainer)
    return tokenizer


def test_tokenizers_without_a_common_form_are_compared_by_what_encodes(tmp_path: Path) -> None:
    data = train_sentencepiece(lines_of("en"), 800, model_type="unigram")
    (tmp_path / "tokenizer.model").write_bytes(data)
    path = tmp_path / "tokenizer.json"
    path.write_text(_other_tokenizer("wordpiece").to_str(), "utf-8")
    report = verified(tmp_path / "tokenizer.model", path)
    assert report.check(SETTINGS).status == "not_checked"
    assert {BASE_IDS, OTHER_TEXT} <= failed(report)
