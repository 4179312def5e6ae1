"""Sample continuations, the texts they begin with, the roles of texts and the forgetting gate."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from evaluation import KINDS, POSITIONS, one_thread, tiny_model, tokenizer_in  # noqa: F401 - a fixture
from helpers import lines_of, toy_sentencepiece
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trainer.evaluate import continuations, pick_prompts, role_of_text
from vocabopt.errors import ForgettingError, OptionError
from vocabopt.training_record import Gate

pytestmark = pytest.mark.usefixtures("one_thread")
N_ROWS = 2_048


@pytest.fixture(scope="module")
def tokenizer(folders: Path) -> PreTrainedTokenizerFast:
    return tokenizer_in(folders / "llama-like", bos="<s>", eos="</s>")


# --- Continuations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_continuations_are_transformers_own_greedy_ones(kind: str, tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model(kind, N_ROWS)
    prompts = ["The house at the river", "우리는 오늘"]
    found = continuations(model, tokenizer, prompts, n_tokens=12)
    for prompt, text in zip(prompts, found, strict=True):
        ids = [1, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        (whole,) = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=12,
            pad_token_id=0,
        )
        # Behind an "a", since alone the first word would lose its space.
        inside = tokenizer.decode([*tokenizer("a", add_special_tokens=False)["input_ids"], *whole[len(ids) :]])
        assert "a" + text == inside
    assert continuations(model, tokenizer, prompts[::-1], n_tokens=12) == found[::-1]


def test_settings_of_the_folder_do_not_move_them(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model("llama", N_ROWS).train()
    still = continuations(model, tokenizer, ["The house"], n_tokens=8)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0)
    assert continuations(model, tokenizer, ["The house"], n_tokens=8) == still
    assert model.training


def writer_of(tokenizer: PreTrainedTokenizerFast, *order: str) -> PreTrainedModel:
    """A model that writes after each token of `order` the next one."""
    n_rows = len(tokenizer)
    model = tiny_model("llama", n_rows, hidden_size=512, tie_word_embeddings=False)
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
            parameter.data.zero_()  # so that nothing but the last token is left
    model.get_input_embeddings().weight.data = torch.eye(n_rows, 512)
    ids = tokenizer.convert_tokens_to_ids(list(order))
    for token, following in pairwise(ids):
        model.get_output_embeddings().weight.data[following, token] = 1
    return model


def spaced_words() -> PreTrainedTokenizerFast:
    """Llama 2's kind: "▁" for spaces, bytes for what it does not know."""
    text = Tokenizer.from_str(json.dumps(toy_sentencepiece("abc", "▁b", "▁c")))
    return PreTrainedTokenizerFast(tokenizer_object=text, bos_token="<s>", eos_token="</s>")


def test_a_continuation_keeps_its_space_and_stops_at_the_end_token() -> None:
    tokenizer = spaced_words()
    model = writer_of(tokenizer, "a", "▁b", "▁c", "</s>")
    assert continuations(model, tokenizer, ["a", "bca"], n_tokens=9) == [" b c", " b c"]
    assert continuations(model, tokenizer, ["a"], n_tokens=1) == [" b"]


def test_broken_bytes_behind_a_prompt_that_ends_in_bytes_are_told_apart() -> None:
    """Decoded in one go, the prompt's own bytes would be broken with them: "가" is EA B0 80."""
    tokenizer = spaced_words()
    model = writer_of(tokenizer, "<0x80>", "<0xEB>", "▁c", "</s>")
    assert continuations(model, tokenizer, ["가"], n_tokens=9) == ["\ufffd c"]


def test_a_continuation_ends_where_the_positions_do() -> None:
    tokenizer = spaced_words()
    model = writer_of(tokenizer, "a", "b", "a")
    (text,) = continuations(model, tokenizer, ["a"], n_tokens=10_000)
    assert len(text) == POSITIONS - 3  # behind the start token, "▁" and "a"


# --- Prompts ---------------------------------------------------------------------------------------------------------


def test_prompts_are_the_same_whatever_the_order_of_the_documents() -> None:
    documents = lines_of("ko")
    prompts = pick_prompts(documents, n=5, seed=0)
    assert pick_prompts(documents[::-1] + documents, n=5, seed=0) == prompts
    assert pick_prompts(documents, n=5, seed=1) != prompts
    assert len(set(prompts)) == 5
    for prompt in prompts:
        (document, *_) = [document for document in documents if document.startswith(prompt)]
        assert 20 < len(prompt) <= 40
        assert document[len(prompt)] == " "  # a whole word ends it


def test_documents_that_leave_nothing_to_go_on_with_are_no_prompts() -> None:
    exact, longer = "x" * 40, "y" * 41
    assert pick_prompts([exact, longer, " " * 60]) == ["y" * 40]
    assert pick_prompts([f"{'word ' * 7}12345 {tail}" for tail in ("this", "that")]) == [f"{'word ' * 7}12345"]
    assert pick_prompts([]) == []


# --- Roles and the gate ----------------------------------------------------------------------------------------------


def test_the_script_tells_the_target_from_the_base() -> None:
    assert role_of_text(lines_of("ko"), ("Hangul",)) == "target"
    assert role_of_text(lines_of("en"), ("Hangul",)) == "base"
    assert role_of_text(["日本語のテキスト"], ("Hangul",)) == "base"
    assert role_of_text(["日本語のテキスト"], ("Han", "Hiragana", "Katakana")) == "target"
    assert role_of_text(["1 + 1 = 2"], ("Hangul",)) == "base"


def test_the_beginning_decides_and_no_more_is_read() -> None:
    def documents() -> object:
        yield "가" * 70_000
        raise AssertionError("read on")

    assert role_of_text(documents(), ("Hangul",)) == "target"  # type: ignore[arg-type]


@pytest.mark.parametrize("scripts", [None, ()])
def test_without_a_script_of_its_own_every_text_is_of_the_target(scripts: tuple[str, ...] | None) -> None:
    assert role_of_text(lines_of("en"), scripts) == "target"


def test_the_gate_names_the_worst_text_and_what_to_do(tmp_path: Path) -> None:
    gate = Gate(max_forgetting=0.1, texts=("en", "code"))
    before = {"ko": 2.0, "en": 1.0, "code": 0.8}
    passed = gate.check(before, {"ko": 9.0, "en": 1.05, "code": 0.88}, stage="lora", folder=tmp_path)
    assert passed == pytest.approx(0.1)  # 10 % is allowed, and the target is not asked
    with pytest.raises(ForgettingError) as raised:
        gate.check(before, {"ko": 1.0, "en": 1.05, "code": 1.0}, stage="odd-blocks", folder=tmp_path)
    assert raised.value.exit_code == 1
    message = str(raised.value)
    for part in ("odd-blocks", "code", "25.00%", "0.8000", "1.0000", "0.1", str(tmp_path)):
        assert part in message
    for option in ("--replay", "--learning-rate-factor", "--max-forgetting"):
        assert option in message


def test_a_gate_without_a_limit_only_measures(tmp_path: Path) -> None:
    gate = Gate(max_forgetting=None, texts=("en",))
    assert gate.check({"en": 1.0}, {"en": 3.0}, stage="all", folder=tmp_path) == pytest.approx(2.0)
    assert gate.check({"en": 1.0}, {"en": 0.75}, stage="all", folder=tmp_path) == pytest.approx(-0.25)
    assert gate.check({"en": 1.0}, {"en": None}, stage="all", folder=tmp_path) is None
    assert Gate(max_forgetting=None, texts=()).check({}, {}, stage="all", folder=tmp_path) is None


def test_a_gate_that_cannot_judge_is_refused() -> None:
    with pytest.raises(OptionError, match=r"--max-forgetting 0.05: no text of the base's language .* --base-eval"):
        Gate(max_forgetting=0.05, texts=())
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(OptionError, match=f"--max-forgetting {value}: must be at least 0"):
            Gate(max_forgetting=value, texts=("en",))
