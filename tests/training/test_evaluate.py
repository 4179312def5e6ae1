"""Bits per byte: against torch on each document alone, a model worked by hand, and itself in other batches."""

import json
import math
from pathlib import Path

import pytest
import tokenizers
import torch
from evaluation import KINDS, POSITIONS, bits, nats_alone, one_thread, tiny_model, tokenizer_in  # noqa: F401
from helpers import lines_of, without_bytes
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

import trainer.evaluate.score as losses_module
from trainer.document_ends import document_ends
from trainer.evaluate import TextScore, loss_note, score_text
from trainer.evaluate.score import TokenLosses, Window, batches_of, windows_of
from vocabopt.errors import ModelError, OptionError
from vocabopt.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
N_ROWS = 2_048
CONTEXT = 48
DOCUMENTS = [*lines_of("en")[:12], *lines_of("ko")[:12], "a", " ".join(lines_of("en")[:30])]


@pytest.fixture(scope="module")
def tokenizer(folders: Path) -> PreTrainedTokenizerFast:
    return tokenizer_in(folders / "llama-like", bos="<s>", eos="</s>")


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param, N_ROWS)


def score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, **options: object) -> TextScore:
    settings = {"context_tokens": CONTEXT, "batch_size": 4, **options}
    return score_text(model, tokenizer, DOCUMENTS, **settings)  # type: ignore[arg-type]


# --- Scores ----------------------------------------------------------------------------------------------------------


def test_a_score_is_that_of_each_document_alone(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Long documents in windows, each opened by the start token; encoded by the tokenizers library."""
    library = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    nats, n_tokens = 0.0, 0
    for document in DOCUMENTS:
        ids = library.encode(document, add_special_tokens=False).ids
        n_tokens += len(ids)
        for first in range(0, len(ids), CONTEXT - 1):
            nats += nats_alone(model, 1, ids[first : first + CONTEXT - 1])
    found = score(model, tokenizer)
    n_bytes = sum(len(document.encode()) for document in DOCUMENTS)
    assert (found.n_documents, found.n_bytes, found.n_tokens) == (len(DOCUMENTS), n_bytes, n_tokens)
    assert found.nll_nats == pytest.approx(nats, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(bits(nats) / n_bytes, rel=1e-5)


def test_the_batch_does_not_move_the_result(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    found = [score(model, tokenizer, batch_size=n).nll_nats for n in (1, 3, 64)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)


def test_nor_does_the_order_of_the_documents(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    backwards = score_text(model, tokenizer, iter(DOCUMENTS[::-1]), context_tokens=CONTEXT, batch_size=4)
    assert backwards.nll_nats == pytest.approx(score(model, tokenizer).nll_nats, rel=1e-6)


def test_overlapping_windows_score_each_token_once_with_more_context(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    document, stride, size = DOCUMENTS[-1], 16, CONTEXT - 1
    ids = tokenizer(document, add_special_tokens=False)["input_ids"]
    assert len(ids) > 3 * size
    nats, done = nats_alone(model, 1, ids[:size]), size
    while done < len(ids):
        window = ids[done + stride - size : done + stride]
        nats += nats_alone(model, 1, window, n_context=size - stride)
        done += stride
    found = score_text(model, tokenizer, [document], context_tokens=CONTEXT, batch_size=4, stride=stride)
    assert found.nll_nats == pytest.approx(nats, rel=1e-5)
    assert found.n_tokens == len(ids)


def test_a_model_that_knows_nothing_costs_log2_of_its_rows_a_token(tokenizer: PreTrainedTokenizerFast) -> None:
    """A head of zeros gives every row the same chance: bits per byte are tokens per byte times log2 V."""
    model = tiny_model("llama", N_ROWS)
    model.get_output_embeddings().weight.data.zero_()
    found = score(model, tokenizer)
    assert found.bits_per_byte == pytest.approx(found.n_tokens / found.n_bytes * 11)
    assert found.nats_per_token == pytest.approx(math.log(2_048))


def test_bits_per_byte_see_what_the_loss_per_token_hides() -> None:
    """Both guess among eight rows, 3 bits a token; the one that needs twice the tokens needs twice the bits."""
    words = {"<s>": 0, "ab": 1, "cd": 2, "a": 3, "b": 4, "c": 5, "d": 6}
    long = PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(models.BPE(words, [("a", "b"), ("c", "d")])), bos_token="<s>"
    )
    short = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(models.BPE(words, [])), bos_token="<s>")
    model = tiny_model("gpt2", 8, tie_word_embeddings=False)
    model.get_output_embeddings().weight.data.zero_()
    of_long, of_short = (
        score_text(model, tokenizer, ["abcdabcd"], context_tokens=16, batch_size=1) for tokenizer in (long, short)
    )
    assert (of_long.n_tokens, of_short.n_tokens) == (4, 8)
    assert of_long.nats_per_token == pytest.approx(of_short.nats_per_token)
    assert of_short.bits_per_byte == pytest.approx(3) == pytest.approx(2 * of_long.bits_per_byte)


def test_scores_of_parts_add_up(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model("llama", N_ROWS)
    parts = [
        score_text(model, tokenizer, DOCUMENTS[rank::3], context_tokens=CONTEXT, batch_size=2) for rank in range(3)
    ]
    nothing = score_text(model, tokenizer, [], context_tokens=CONTEXT, batch_size=2)
    total = parts[0] + parts[1] + parts[2] + nothing
    whole = score(model, tokenizer)
    assert (total.n_documents, total.n_bytes, total.n_tokens) == (whole.n_documents, whole.n_bytes, whole.n_tokens)
    assert total.nll_nats == pytest.approx(whole.nll_nats, rel=1e-6)


def test_logits_in_parts_are_the_models_own(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than two positions' logits at a time, and the same losses."""
    whole = score(model, tokenizer).nll_nats
    assert TokenLosses(model)._head is model.get_output_embeddings()
    largest = 0

    def note(module: torch.nn.Module, inputs: object, logits: torch.Tensor) -> None:
        nonlocal largest
        if logits.dim() == 2:  # with three it is the probe, or the model itself
            largest = max(largest, logits.numel())

    model.get_output_embeddings().register_forward_hook(note)
    monkeypatch.setattr(losses_module, "_LOGIT_BYTES", 2 * N_ROWS * 4)
    assert score(model, tokenizer, batch_size=1).nll_nats == pytest.approx(whole, rel=1e-6)
    assert largest == 2 * N_ROWS


def test_a_model_that_caps_its_logits_is_asked_whole(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=N_ROWS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        initializer_range=0.5,
        final_logit_softcapping=3.0,
        max_position_embeddings=POSITIONS,
    )
    capped = Gemma2ForCausalLM(config).eval()
    assert TokenLosses(capped)._head is None
    monkeypatch.setattr(losses_module, "_LOGIT_BYTES", 1)  # a window at a time
    ids = tokenizer(DOCUMENTS[0], add_special_tokens=False)["input_ids"]
    found = score_text(capped, tokenizer, DOCUMENTS[:1] * 3, context_tokens=POSITIONS, batch_size=4)
    assert found.nll_nats == pytest.approx(3 * nats_alone(capped, 1, ids), rel=1e-5)


def test_the_softmax_of_a_bf16_model_is_float32(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model("llama", N_ROWS).to(torch.bfloat16)
    ids = tokenizer(DOCUMENTS[0], add_special_tokens=False)["input_ids"]
    found = score_text(model, tokenizer, DOCUMENTS[:1], context_tokens=POSITIONS, batch_size=1)
    exact = nats_alone(model, 1, ids)  # softmax in float64 of the same bf16 logits
    assert found.nll_nats == pytest.approx(exact, rel=1e-6)
    with torch.no_grad():
        logits = model(torch.tensor([[1, *ids]])).logits[0, :-1]
    rough = -float(logits.log_softmax(-1)[range(len(ids)), ids].double().sum())
    assert abs(rough - exact) > 1e-4 * exact  # so that the test would notice


def test_the_model_is_left_as_it_was(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model("gpt2", N_ROWS, resid_pdrop=0.5)
    still = score(model, tokenizer).nll_nats
    model.train()
    assert score(model, tokenizer).nll_nats == still  # no dropout
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_progress_goes_by_bytes_and_ends_at_all_of_them(tokenizer: PreTrainedTokenizerFast) -> None:
    told: list[int] = []
    found = score(tiny_model("llama", N_ROWS), tokenizer, batch_size=1, advance=told.append)
    assert told == sorted(told)
    assert told[-1] == found.n_bytes
    assert len(told) > 5


def test_unknown_tokens_are_counted() -> None:
    words = tokenizers.Tokenizer(models.BPE({"<unk>": 0, "<s>": 1, "a": 2}, [], unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", bos_token="<s>")
    found = score_text(tiny_model("llama", 8), tokenizer, ["aza", "zz"], context_tokens=8, batch_size=1)
    assert (found.n_tokens, found.n_unknown_tokens, found.n_lost_chars) == (5, 3, 0)


@pytest.mark.parametrize(("unknown", "n_unknown"), [(None, 0), ("<|unknown|>", 4), ("<|endoftext|>", 0)])
def test_characters_that_a_byte_level_tokenizer_lacks_are_counted(
    unknown: str | None, n_unknown: int, gpt2_like: Tokenizer
) -> None:
    """With an unknown token or without, and where that is the end token; an added token that holds one is none."""
    value = without_bytes(gpt2_like, [0x01, 0xF1])
    value["model"] |= {"unk_token": unknown, "fuse_unk": False}
    if unknown == "<|unknown|>":
        value["model"]["vocab"][unknown] = max(value["model"]["vocab"].values()) + 1
    own = tokenizers.Tokenizer.from_str(json.dumps(value))
    own.add_tokens(["<\x01>"])
    more = {} if unknown is None else {"unk_token": unknown}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<|endoftext|>", **more)
    documents = ["가\x01나\x01", "none <\x01> lost", "\U00041234", "\x01"]
    model = tiny_model("llama", 2_100)
    found = score_text(model, tokenizer, documents, context_tokens=32, batch_size=2)
    assert (found.n_lost_chars, found.n_unknown_tokens) == (4, n_unknown)
    note = loss_note("ko", found)
    assert note is not None
    assert note.startswith("ko: the tokenizer has no token for 4 of its characters: they are lost")
    assert (found + found).n_lost_chars == 8


# --- Refusals --------------------------------------------------------------------------------------------------------


def test_a_context_longer_than_the_positions_is_refused(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(OptionError, match=r"--context 129: the model has 128 positions .* Give at most 128"):
        score(model, tokenizer, context_tokens=129)


def test_windows_that_cannot_be_made_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model("llama", N_ROWS)
    with pytest.raises(OptionError, match="--context 1: must be at least 2"):
        score(model, tokenizer, context_tokens=1)
    for stride in (0, CONTEXT):
        with pytest.raises(OptionError, match=f"--stride {stride}: must be from 1 to 47"):
            score(model, tokenizer, stride=stride)


def test_a_tokenizer_of_another_model_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match=r"gives the id [\d,]+, and the model has 300 rows"):
        score(tiny_model("llama", 300), tokenizer)


def test_losses_that_are_no_numbers_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model("llama", N_ROWS)
    model.get_output_embeddings().weight.data[5] = float("nan")
    with pytest.raises(ModelError, match=r"LlamaForCausalLM: its losses are not numbers \(nan\)"):
        score(model, tokenizer)


def test_the_start_token_is_the_begin_else_the_end_token(folders: Path) -> None:
    folder = folders / "llama-like"
    assert document_ends(tokenizer_in(folder, bos="<s>", eos="</s>")).start_id == 1
    assert document_ends(tokenizer_in(folder, eos="</s>")).start_id == 2


@pytest.mark.parametrize("stride", [None, 5])
def test_without_a_start_token_the_first_token_of_a_window_costs_a_choice_among_all(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, stride: int | None
) -> None:
    """Each window alone, without batch or padding; the first of a document, or of a window without overlap, is free."""
    none = document_ends(tokenizer, "none")
    settings = {"context_tokens": 12, "batch_size": 3, "stride": stride, "ends": none}
    documents = [*DOCUMENTS[:4], "a"]
    found = score_text(model, tokenizer, documents, **settings)
    expected = 0.0
    for document in documents:
        for window in windows_of(tokenizer(document, add_special_tokens=False)["input_ids"], 12, stride):
            first, *rest = window.ids
            if window.n_scored == len(window.ids):
                expected += math.log(len(tokenizer)) + nats_alone(model, first, rest)
            else:
                expected += nats_alone(model, first, rest, len(rest) - window.n_scored)
    assert found.nll_nats == pytest.approx(expected, rel=1e-5)
    assert found.n_tokens == sum(len(tokenizer(d, add_special_tokens=False)["input_ids"]) for d in documents)


# --- Windows and batches ---------------------------------------------------------------------------------------------


def test_windows_by_hand() -> None:
    ids = list(range(8))
    assert list(windows_of(ids, 4, None)) == [([0, 1, 2], 3), ([3, 4, 5], 3), ([6, 7], 2)]
    assert list(windows_of(ids, 4, 2)) == [([0, 1, 2], 3), ([2, 3, 4], 2), ([4, 5, 6], 2), ([6, 7], 1)]
    assert list(windows_of([], 4, None)) == []


@given(n=st.integers(0, 70), context=st.integers(2, 20), data=st.data())
def test_windows_score_each_token_once_in_order(n: int, context: int, data: st.DataObject) -> None:
    stride = data.draw(st.none() | st.integers(1, context - 1))
    windows = list(windows_of(list(range(n)), context, stride))
    scored = [i for ids, n_scored in windows for i in ids[len(ids) - n_scored :]]
    assert scored == list(range(n))
    assert all(0 < len(ids) < context and n_scored > 0 for ids, n_scored in windows)


@given(lengths=st.lists(st.integers(1, 40), max_size=200), batch_tokens=st.integers(1, 60))
def test_batches_hold_every_window_once_within_their_bound(lengths: list[int], batch_tokens: int) -> None:
    batches = list(batches_of((Window([i] * n, n) for i, n in enumerate(lengths)), batch_tokens))
    assert sorted(window.ids[0] for batch in batches for window in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(len(window.ids) for window in batch)
        assert len(batch) == 1 or len(batch) * longest <= batch_tokens
