"""`--init distill`: input rows learned so that the model's hidden states are those behind the old spelling."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import assert_refused, vocabopt
from conftest import Run
from helpers import CORPUS, all_ids, library_tokenizer
from model_folders import N_ADDED, config_for, with_tokenizer, write_model
from numpy.typing import NDArray
from swapped import swapped
from test_init import CONFIGS, extension, small_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, PreTrainedModel

from trainer.data.documents import HeldOut, scan_text, target_and_replays
from trainer.evaluate.run import load_tokenizer
from trainer.init import Extension, init_model, load_model, read_extension
from trainer.init.distill import HiddenDistance, RowAdam, batches, distill_flops, reused_ids
from trainer.init.rows import make_rows
from trainer.init.snippets import Snippets, Spelling, find_snippets, source_of_path
from trainer.layout import layout_of
from trainer.options import InitOptions
from vocabopt.console import Console
from vocabopt.text.readers import ReadOptions
from vocabopt.training_record import InitLog

TEXT, UNSEEN = CORPUS / "ko" / "news.txt", CORPUS / "ko" / "chat.txt"
QUIET = Console(quiet=True)


@dataclass(frozen=True)
class Case:
    """A small model with its tokenizer beside it, and a merged tokenizer."""

    model: Path
    tokenizer: Path

    @cached_property
    def extension(self) -> Extension:
        return read_extension(self.tokenizer, self.model)

    @cached_property
    def options(self) -> InitOptions:
        return InitOptions(
            model=str(self.model), tokenizer=self.tokenizer, out=Path("out"), method="distill",
            texts={"ko": str(TEXT)}, distill_length=16, distill_batch=8, distill_steps=60, distill_snippets=4,
        )  # fmt: skip

    def snippets(
        self, path: Path = TEXT, options: InitOptions | None = None, n_positions: int | None = None
    ) -> Snippets:
        source = source_of_path("ko", str(path), ReadOptions(), heldout=0.05, console=QUIET)
        tokenizer, given = load_tokenizer(str(self.tokenizer)), options or self.options
        return find_snippets(source, self.extension, tokenizer, given, seed=0, n_positions=n_positions)

    def made(self, method: Any = "distill", dtype: Any = "auto", **options: Any) -> tuple[PreTrainedModel, InitLog]:
        model, given = load_model(self.model, dtype=dtype), replace(self.options, **options)
        log = make_rows(
            model, self.extension, given, method=method, seed=given.seed, console=QUIET,
            find_snippets=lambda: self.snippets(options=given),
        )  # fmt: skip
        return model, log


@pytest.fixture(scope="module", params=["untied", "tied", "gpt2"])
def case(
    request: pytest.FixtureRequest,
    folders: Path,
    llama_merged: Path,
    run_of: Callable[[str], Run],
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    base = "gpt2-like" if request.param == "gpt2" else "llama-like"
    config = config_for(base)
    config.tie_word_embeddings = request.param != "untied"
    folder = with_tokenizer(write_model(tmp_path_factory.mktemp("distill") / "model", config), folders / base)
    return Case(folder, run_of(base).exported(N_ADDED) if request.param == "gpt2" else llama_merged)


@pytest.fixture(scope="module")
def untied(llama_model: Path, llama_merged: Path) -> Case:
    return Case(llama_model, llama_merged)


def rows_of(model: PreTrainedModel, of: Extension) -> torch.Tensor:
    """The new tokens' input rows."""
    return model.get_parameter(layout_of(model).embeddings).detach()[torch.tensor(of.new_ids)].float()


def states(model: PreTrainedModel, ids: NDArray[np.int64], layer: int = -1) -> torch.Tensor:
    """Hidden states as transformers gives them, [T, D]."""
    with torch.no_grad():
        found = model(torch.from_numpy(ids)[None], output_hidden_states=True).hidden_states
    return torch.as_tensor(found[layer][0])


def plain_distance(
    before: PreTrainedModel, after: PreTrainedModel, of: Extension, snippets: list[NDArray[np.int64]], layer: int = -1
) -> float:
    """One snippet at a time, with the whole tables, from the first new token on."""
    spelling, parts = Spelling(extension=of), []
    for ids in snippets:
        old, ends = spelling.before(ids)
        first = int(np.flatnonzero(np.isin(ids, of.new_ids))[0])
        difference = states(after, ids, layer)[first:] - states(before, old, layer)[ends[first:]]
        parts.append(difference.square())
    return float(torch.cat(parts).mean())


# --- What is learned -------------------------------------------------------------------------------------------------


def test_learned_rows_lower_the_distance_on_text_that_was_not_read(case: Case) -> None:
    begun, _ = case.made("weighted")
    learned, log = case.made()
    unseen = list(case.snippets(UNSEEN).ids[:40])
    base = load_model(case.model)
    before, after = (plain_distance(base, model, case.extension, unseen) for model in (begun, learned))
    assert after < 0.98 * before
    assert log.distill is not None
    assert log.distill.loss_last < log.distill.loss_first


def test_nothing_but_input_rows_of_tokens_with_text_changes(case: Case) -> None:
    """Against the rows that it begins with, bit for bit; a tied model has one table."""
    begun, learned = (case.made(method)[0].state_dict() for method in ("weighted", "distill"))
    counts = case.snippets().counts
    with_text = sorted(index for index, n in zip(case.extension.new_ids, counts, strict=True) if n)
    assert 0 < len(with_text) < N_ADDED
    table = layout_of(load_model(case.model)).embeddings
    assert begun.keys() == learned.keys()
    for name, tensor in learned.items():
        same = (tensor == begun[name]).reshape(len(tensor), -1).all(1)
        is_table = tensor.data_ptr() == learned[table].data_ptr()
        assert (~same).nonzero()[:, 0].tolist() == (with_text if is_table else [])


def test_the_log_says_what_was_read_and_which_rows_had_no_text(case: Case) -> None:
    model, log = case.made()
    found, snippets = log.distill, case.snippets()
    assert found is not None
    assert found.n_without_text == int((snippets.counts == 0).sum())
    assert found.n_full + found.n_fewer + found.n_without_text == log.n_new == N_ADDED
    assert (found.n_snippets, found.n_steps, found.layer, found.start) == (len(snippets.ids), 60, 2, "weighted")
    lengths = [[len(snippets.ids[number]) for number in step] for step in batches(found.n_snippets, 8, 60, 0)]
    assert found.tokens_new == sum(map(sum, lengths))
    assert found.tokens_old > found.tokens_new
    groups = {group.made_by: group.n_rows for group in log.tables[0].groups if group.kind == "new"}
    assert groups["learned from text"] == found.n_full + found.n_fewer
    assert sum(groups.values()) == N_ADDED
    assert any("tied" in note and "output rows too" in note for note in log.notes) == layout_of(model).is_tied


def test_another_seed_gives_other_rows_and_the_same_one_the_same(untied: Case) -> None:
    (one, _), (two, _), (other, _) = untied.made(), untied.made(), untied.made(seed=1)
    assert torch.equal(rows_of(one, untied.extension), rows_of(two, untied.extension))
    assert not torch.equal(rows_of(one, untied.extension), rows_of(other, untied.extension))


def test_weights_in_bf16_stay_in_bf16_and_learn_too(untied: Case) -> None:
    model, log = untied.made(dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert log.distill is not None
    assert log.distill.loss_last < 0.9 * log.distill.loss_first
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_another_layer_is_matched_where_it_is_asked_for(untied: Case) -> None:
    model, log = untied.made(distill_layer=1)
    begun, base = untied.made("weighted")[0], load_model(untied.model)
    assert log.distill is not None
    assert log.distill.layer == 1
    unseen = list(untied.snippets(UNSEEN).ids[:20])
    found = [plain_distance(base, one, untied.extension, unseen, layer=1) for one in (begun, model)]
    assert found[1] < found[0]


def test_calibrated_rows_have_their_norms_after_learning(untied: Case) -> None:
    model, log = untied.made(calibrate_norms="input")
    calibration = log.tables[0].calibration
    assert calibration is not None
    wanted = torch.tensor([calibration.norms[len(text)] for text in untied.extension.texts])
    torch.testing.assert_close(rows_of(model, untied.extension).norm(dim=1), wanted)


# --- The distance and its gradient -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layer", [None, 1])
def test_the_distance_is_that_of_transformers_with_whole_tables(name: str, layer: int | None) -> None:
    """Also where the model scales what it looks up (Gemma), or has learned positions (GPT-2)."""
    given = extension({300: [3, 4], 301: [5, 6, 7]}, n_base=300)
    before, after = small_model(name), small_model(name)
    init_model(after, given, method="weighted", match_norm=False, seed=0)
    snippets = [np.array([1, 9, 300, 8, 301, 7]), np.array([1, 301, 301]), np.array([1, 9, 9, 9, 9, 300])]
    compare = HiddenDistance(after, given, torch.zeros(0, 32), layer)
    after.get_input_embeddings().padding_idx = None  # type: ignore[union-attr]
    found = compare(snippets, rows_of(after, given))
    expected = plain_distance(before, after, given, snippets, layer=-1 if layer is None else layer)
    assert float(found.loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert (found.n_new, found.n_old) == (15, 6 + 1 + 2 + 1 + 6 + 7)


def test_the_gradient_of_a_row_is_that_of_finite_differences(untied: Case) -> None:
    model = load_model(untied.model).double()
    given, snippets = untied.extension, list(untied.snippets().ids[:3])
    init_model(model, given, method="weighted", match_norm=False, seed=0)
    rows = rows_of(model, given).double()
    compare = HiddenDistance(model, given, torch.zeros(0, 32), None)
    found = compare(snippets, rows)
    # Hidden states are compared in float32, so the step is large.
    (gradient,) = torch.autograd.grad(found.loss, found.leaf)
    step = 0.05 * rows.std()
    for number in (0, len(found.which) - 1):
        row = int(found.which[number])
        direction = gradient[number] / gradient[number].norm()
        losses = []
        for sign in (1, -1):
            moved = rows.clone()
            moved[row] += sign * step * direction
            losses.append(float(compare(snippets, moved).loss.detach()))
        slope = (losses[0] - losses[1]) / float(2 * step)
        assert slope == pytest.approx(float(gradient[number].norm()), rel=0.02)


def test_a_row_that_every_step_holds_moves_as_under_adam_of_torch() -> None:
    torch.manual_seed(0)
    rows, gradients = torch.randn(4, 8), torch.randn(20, 4, 8)
    expected = torch.nn.Parameter(rows[:3].clone())
    optimizer, adam = torch.optim.Adam([expected], lr=0.03), RowAdam(rows)
    for gradient in gradients:
        expected.grad = gradient[:3]
        optimizer.step()
        adam.step(torch.tensor([2, 0, 1]), gradient[[2, 0, 1]], 0.03)
    torch.testing.assert_close(rows[:3], expected.detach())


def test_a_row_that_few_steps_hold_counts_its_own() -> None:
    """The other one moves in between, and moves nothing of it."""
    torch.manual_seed(0)
    gradients = torch.randn(6, 1, 8)
    alone, beside = torch.ones(1, 8), torch.ones(2, 8)
    first, second = RowAdam(alone), RowAdam(beside)
    for gradient in gradients:
        first.step(torch.tensor([0]), gradient, 0.1)
        second.step(torch.tensor([1]), gradient, 0.1)
        second.step(torch.tensor([0]), gradient, 0.1)
    assert torch.equal(alone[0], beside[0])


def test_flops_are_those_that_torch_counts_in_linear_layers(untied: Case) -> None:
    model, given, snippets = load_model(untied.model), untied.extension, list(untied.snippets().ids[:1])
    init_model(model, given, method="weighted", match_norm=False, seed=0)
    model.requires_grad_(False)
    compare = HiddenDistance(model, given, torch.zeros(0, 32), None)
    with FlopCounterMode(display=False) as counter:
        found = compare(snippets, rows_of(model, given))
        torch.autograd.grad(found.loss, found.leaf)
    counted = sum(n for operation, n in counter.get_flop_counts()["Global"].items() if operation is torch.ops.aten.mm)
    assert distill_flops(model, found.n_new, found.n_old) == counted


# --- Text ------------------------------------------------------------------------------------------------------------


def test_the_old_spelling_is_the_base_s_own_encoding(case: Case) -> None:
    spelling = Spelling(extension=case.extension)
    base, merged = (library_tokenizer(folder) for folder in (case.model, case.tokenizer))
    lines, n_complete = UNSEEN.read_text("utf-8").splitlines()[:40], 0
    for old, new in zip(all_ids(base, lines), all_ids(merged, lines), strict=True):
        found, ends = spelling.before(np.array(new))
        assert found.tolist() == old
        before = [base.decode(old[: end + 1]) for end in ends]
        after = [merged.decode(new[: n + 1]) for n in range(len(new))]
        # A character that is not complete yet decodes as its neighbours allow.
        complete = [pair for pair in zip(before, after, strict=True) if "\ufffd" not in "".join(pair)]
        assert all(old_text == new_text for old_text, new_text in complete)
        n_complete += len(complete)
    assert n_complete > 100


def test_held_out_documents_and_documents_behind_the_budget_are_not_read(untied: Case) -> None:
    held_out = HeldOut(share=0.5)
    (source,) = scan_text(target_and_replays(("ko", str(TEXT)), {}, ReadOptions()), held_out=held_out)
    lines = [line for line in TEXT.read_text("utf-8").splitlines() if line.strip()]
    tokenizer = load_tokenizer(str(untied.tokenizer))
    snippets = find_snippets(
        source, untied.extension, tokenizer, untied.options, seed=3, n_positions=None, n_documents=5
    )
    read = [lines[place] for place in source.order(3, 0)[:5]]
    of_read = list(all_ids(library_tokenizer(untied.tokenizer), read))
    assert snippets.text_bytes == sum(len(line.encode()) for line in read)
    assert len(snippets.ids) > 3
    for ids in snippets.ids:
        text = ids.tolist()[1:]  # behind the start token
        assert any(text == whole[at : at + len(text)] for whole in of_read for at in range(len(whole)))


def test_snippets_are_taken_for_tokens_that_lack_them(untied: Case) -> None:
    snippets = untied.snippets(options=replace(untied.options, distill_snippets=2))
    more = untied.snippets(options=replace(untied.options, distill_snippets=8))
    assert 0 < len(snippets.ids) < len(more.ids)
    # What occurs in both has as many as were wanted wherever the text has them.
    assert bool((snippets.counts >= np.minimum(more.counts, 2)).all())
    slots = Spelling(extension=untied.extension).slots
    found = np.zeros(N_ADDED, np.int64)
    for ids in snippets.ids:
        here = slots[ids]
        found[np.unique(here[here >= 0])] += 1
    assert np.array_equal(found, snippets.counts)


def test_snippets_end_where_the_model_has_no_more_positions_for_the_old_spelling(untied: Case) -> None:
    spelling = Spelling(extension=untied.extension)
    free, bounded = untied.snippets(), untied.snippets(n_positions=20)
    assert max(len(spelling.before(ids)[0]) for ids in free.ids) > 20
    assert {len(spelling.before(ids)[0]) <= 20 for ids in bounded.ids} == {True}
    # Those that had room are there as they were.
    whole = {ids.tobytes() for ids in free.ids if len(spelling.before(ids)[0]) <= 20}
    assert len(whole & {ids.tobytes() for ids in bounded.ids}) > len(whole) // 2


# --- Commands --------------------------------------------------------------------------------------------------------

#: The same as in `Case.options`.
FEW = ("--distill-length", 16, "--distill-batch", 8, "--distill-steps", 60, "--distill-snippets", 4)


def test_init_writes_the_rows_and_says_what_they_took(untied: Case, tmp_path: Path) -> None:
    command = ("init", untied.model, "--tokenizer", untied.tokenizer, "--method", "distill", *FEW)
    result = vocabopt(*command, "--text", f"ko={TEXT}", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"{N_ADDED} new rows by distill" in result.stdout
    told = " ".join(result.stdout.split())
    assert "rows in 60 steps on" in told
    assert "new tokens do not occur in that text and keep the rows of weighted" in told
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(rows_of(written, untied.extension), rows_of(untied.made()[0], untied.extension))
    record = json.loads((tmp_path / "out" / "init.json").read_text("utf-8"))
    assert record["log"]["distill"]["n_steps"] == record["command"]["distill_steps"] == 60
    # The same command again, and one that reads no text.
    assert vocabopt(*command, "--text", f"ko={TEXT}", "--out", tmp_path / "out", "--quiet").exit_code == 0
    assert_refused(
        vocabopt(*command, "--text", f"ko={UNSEEN}", "--out", tmp_path / "out"),
        "holds another model, made with texts",
        tmp_path / "nothing",
    )


def test_bad_options_of_learned_rows_are_refused(untied: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("init", untied.model, "--tokenizer", untied.tokenizer, "--out", out)
    text = ("--text", f"ko={TEXT}")
    english = ("--text", f"en={CORPUS / 'en' / 'recipe.txt'}")
    for given, match in (
        (("--method", "distill"), r"--method distill: learns rows from one text, and 0 are given.*--text ko=PATH"),
        ((*text, "--text", f"x={TEXT}", "--method", "distill"), r"one text, and 2 are given"),
        (text, r"--text ko: is read by --method distill alone, and the method is decompose"),
        (
            (*text, "--method", "distill", "--distill-layer", 3),
            r"--distill-layer 3: .* has 2 blocks. Name",
        ),
        ((*text, "--method", "distill", "--distill-rate", 0), r"--distill-rate 0.0: must be above 0"),
        ((*text, "--method", "distill", "--distill-text", "x"), r"--distill-text x: .*10MB or 500kB"),
        ((*text, "--method", "distill", "--heldout", 1), r"--heldout 1.0: must be at least 0 and below 1"),
        ((*text, "--method", "distill", "--distill-steps", 0), r"--distill-steps 0: must be at least 1"),
        (("--match-norm", "--calibrate-norms", "both"), r"--match-norm and --calibrate-norms both: both set the norm"),
        ((*english, "--method", "distill", "--heldout", 0), r"en: none of the 150 new tokens occurs in the .* bytes"),
        (("--text", f"ko={tmp_path / 'no'}", "--method", "distill"), r"--text ko=.*no: "),
    ):
        assert_refused(vocabopt(*command, *given), match, out)


def test_a_rate_that_throws_the_rows_off_is_told(untied: Case, tmp_path: Path) -> None:
    command = ("init", untied.model, "--tokenizer", untied.tokenizer, "--method", "distill", *FEW)
    result = vocabopt(*command, "--text", f"ko={TEXT}", "--distill-rate", "1e45", "--out", tmp_path / "out")
    match = r"--init distill: the distance of hidden states is no number in step .*Lower --distill-rate"
    assert_refused(result, match, tmp_path / "out")


ADAPT = (
    "--text", f"ko={TEXT}", "--context", 32, "--batch", "1024tok", "--micro-batch", 8, "--precision", "fp32",
    "--samples", 0, "--report-to", "none", "--device", "cpu", "--plan", "full", "--init", "distill", *FEW,
)  # fmt: skip


@pytest.mark.slow
def test_adapt_begins_with_learned_rows_and_measures_them(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    result = vocabopt("adapt", llama, "--run", run_dir, *ADAPT, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "adapt.json").read_text("utf-8"))
    assert (record["init"], record["init_log"]["distill"]["text"]) == ("distill", "ko")
    assert "Learned from ko:" in result.stdout
    refused = vocabopt("adapt", llama, "--run", run_dir, *ADAPT, "--distill-layer", 9, "--out", tmp_path / "no")
    assert_refused(refused, r"--distill-layer 9: .* has 2 blocks", tmp_path / "no")


@pytest.mark.slow
def test_rows_of_a_swap_are_learned_against_the_rows_that_were_there(
    llama_model: Path, folders: Path, tmp_path: Path
) -> None:
    """Reused rows in place: kept rows stay, and the old spelling reads rows that a new token has now."""
    case = Case(llama_model, swapped(folders / "llama-like", 60, tmp_path))
    of, base = case.extension, load_model(case.model)
    assert reused_ids(of) == list(of.new_ids)
    # A base token that was taken out stands in the old spelling of a new one, so that its row is asked for.
    other = next(index for index in of.new_ids if index != of.new_ids[0])
    given = replace(
        of,
        base_ids=((other, *of.base_ids[0]), *of.base_ids[1:]),
        base_n_bytes=((1, *of.base_n_bytes[0]), *of.base_n_bytes[1:]),
    )
    begun = load_model(case.model)
    taken_out = begun.get_parameter(layout_of(begun).embeddings).detach()[torch.tensor(of.new_ids)].clone()
    init_model(begun, given, method="weighted", match_norm=False, seed=0)
    snippets = [np.array([1, of.new_ids[0], 40]), np.array([1, 41, of.new_ids[5]])]
    found = HiddenDistance(begun, given, taken_out, None)(snippets, rows_of(begun, given))
    assert float(found.loss.detach()) == pytest.approx(plain_distance(base, begun, given, snippets), rel=1e-4)
    learned, log = case.made()
    assert log.distill is not None
    assert log.distill.loss_last < log.distill.loss_first
    before, after = (model.get_parameter(layout_of(model).embeddings).detach() for model in (base, learned))
    changed = (before != after).any(1).nonzero()[:, 0].tolist()
    assert set(changed) <= set(of.new_ids)
    assert len(after) == len(before)
    result = vocabopt("adapt", case.model, "--tokenizer", case.tokenizer, *ADAPT, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
