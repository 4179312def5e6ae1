"""Which text each training stage gets: by content, by bytes, and nothing that a sweep held out."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from command_line import written
from helpers import CORPUS, lines_of, split_heldout
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trainer.data import (
    Budget,
    HeldOut,
    TextPlan,
    TextSource,
    budget_in_bytes,
    cut_text,
    hashes_of_documents,
    held_out_documents,
    pack_stage,
    parse_budget,
    scan_text,
    target_and_replays,
)
from vocabopt.errors import CorpusError, OptionError
from vocabopt.run_directory import read_sweep
from vocabopt.text.corpus import named_set
from vocabopt.text.readers import ReadOptions
from vocabopt.text.sets import HELDOUT, TRAIN

SHARES = (0.5, 0.3, 0.2)
NEWS = CORPUS / "ko" / "news.txt"


def sources_of(target: Path, *replays: str) -> tuple[TextSource, ...]:
    """replays: NAME=PATH:SHARE."""
    named = {}
    for value in replays:
        name, _, rest = value.partition("=")
        path, _, share = rest.rpartition(":")
        named[name] = (path, float(share))
    return target_and_replays(("ko", str(target)), named, ReadOptions())


def plan_of(
    target: Path,
    *replays: str,
    budget_bytes: int | None = None,
    stage_shares: Sequence[float] = SHARES,
    seed: int = 0,
    held_out: HeldOut | None = None,
    exclude: np.ndarray | None = None,
) -> TextPlan:
    scanned = scan_text(sources_of(target, *replays), held_out=held_out, exclude=exclude)
    return cut_text(scanned, budget_bytes=budget_bytes, stage_shares=stage_shares, seed=seed)


def lines_in(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").split("\n") if line.strip()]


def texts_of(plan: TextPlan, stage: int, files: Sequence[Path]) -> list[list[str]]:
    """The documents of a stage by source, read from the files themselves, a line each."""
    read = [lines_in(path) for path in files]
    parts = zip(read, plan.stage(stage).documents, strict=True)
    return [[lines[i] for i in documents] for lines, documents in parts]


def n_bytes(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) for text in texts)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Korean and an English text, a document per line."""
    folder = tmp_path_factory.mktemp("text")
    return (
        written(folder / "ko.txt", "\n".join(lines_of("ko")[:600])),
        written(folder / "en.txt", "\n".join(lines_of("en")[:300])),
    )


@pytest.fixture(scope="module")
def tokenizers_(folders: Path) -> dict[str, PreTrainedTokenizerBase]:
    return {name: AutoTokenizer.from_pretrained(folders / name) for name in ("llama-like", "gpt2-like")}


# --- Shares ----------------------------------------------------------------------------------------------------------


def test_the_text_once_is_every_document_once_over_all_stages(two: tuple[Path, Path]) -> None:
    plan = plan_of(two[0])
    texts = [text for stage in range(3) for text in texts_of(plan, stage, two[:1])[0]]
    assert Counter(texts) == Counter(lines_in(two[0]))
    assert plan.in_numbers().passes == 1


@pytest.mark.parametrize("budget_bytes", [None, 20_000, 150_000])
def test_every_slice_has_its_share_of_the_bytes_to_one_document_in_every_source(
    two: tuple[Path, Path], budget_bytes: int | None
) -> None:
    plan = plan_of(two[0], f"en={two[1]}:0.2", budget_bytes=budget_bytes)
    in_all = n_bytes(lines_in(two[0])) / 0.8 if budget_bytes is None else budget_bytes
    longest = max(len(line.encode()) for path in two for line in lines_in(path))
    for stage, stage_share in enumerate(SHARES):
        found = [n_bytes(texts) for texts in texts_of(plan, stage, two)]
        for part, share in zip(found, (0.8, 0.2), strict=True):
            assert abs(part - in_all * share * stage_share) <= longest
        assert np.diff(plan.bounds_bytes)[:, stage].tolist() == found
    whole = plan.in_numbers()
    assert whole.n_bytes == sum(n_bytes(texts) for stage in range(3) for texts in texts_of(plan, stage, two))
    assert whole.sources["en"].n_bytes / whole.n_bytes == pytest.approx(0.2, abs=longest / whole.n_bytes)


def test_a_budget_beyond_the_text_repeats_it_in_passes_each_in_its_own_order(two: tuple[Path, Path]) -> None:
    lines = lines_in(two[0])
    plan = plan_of(two[0], budget_bytes=round(2.5 * n_bytes(lines)), stage_shares=(0.4, 0.4, 0.2))
    first, second, third = (texts_of(plan, stage, two[:1])[0] for stage in range(3))
    assert Counter(first) == Counter(second) == Counter(lines)
    assert first != second
    assert n_bytes(third) == pytest.approx(n_bytes(lines) / 2, rel=0.01)
    assert max(Counter(third).values()) == max(Counter(lines).values())
    assert plan.in_numbers().passes == pytest.approx(2.5, abs=0.01)


def test_a_slice_across_the_end_of_a_pass_takes_the_rest_of_one_and_the_beginning_of_the_next(
    two: tuple[Path, Path],
) -> None:
    lines = lines_in(two[0])
    plan = plan_of(two[0], budget_bytes=2 * n_bytes(lines), stage_shares=(0.25, 0.5, 0.25))
    first, middle, last = (Counter(texts_of(plan, stage, two[:1])[0]) for stage in range(3))
    assert first + middle + last == Counter(lines * 2)
    assert not (Counter(lines) - first) - middle  # the first pass is over before the second stage is


# --- Order -----------------------------------------------------------------------------------------------------------


def test_every_arm_of_a_comparison_reads_the_same_text_in_each_stage(
    two: tuple[Path, Path], tokenizers_: dict[str, PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    plan = plan_of(two[0], f"en={two[1]}:0.2")
    for stage in range(3):
        decoded = []
        for name, tokenizer in tokenizers_.items():
            packed = pack_stage(plan, stage, tokenizer, context_tokens=64, folder=tmp_path / name / str(stage))
            ends = np.append(packed.starts[1:], packed.n_tokens)
            documents = [packed.tokens[a + 1 : b - 1] for a, b in zip(packed.starts, ends, strict=True)]
            decoded.append([tokenizer.backend_tokenizer.decode(ids) for ids in documents])
        assert decoded[0] == decoded[1]
        assert Counter(decoded[0]) == Counter(chain.from_iterable(texts_of(plan, stage, two)))


def test_the_order_does_not_depend_on_that_of_files_and_lines(
    two: tuple[Path, Path], tokenizers_: dict[str, PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    lines = [*lines_in(two[0]), *lines_in(two[0])[:50]]  # some documents twice
    random.Random(0).shuffle(lines)
    written(tmp_path / "b" / "1.txt", "\n".join(lines[400:]))
    written(tmp_path / "b" / "2.txt", "\n".join(lines[:400]))
    written(tmp_path / "a" / "all.txt", "\n".join([*lines_in(two[0]), *lines_in(two[0])[:50]]))
    packed = [
        pack_stage(
            plan_of(tmp_path / name, f"en={two[1]}:0.1", budget_bytes=200_000, seed=seed),
            1,
            tokenizers_["gpt2-like"],
            context_tokens=32,
            folder=tmp_path / f"{name}{seed}",
        )
        for name, seed in (("a", 0), ("b", 0), ("b", 1))
    ]
    contents = [[path.read_bytes() for path in sorted(text.folder.iterdir())] for text in packed]
    assert contents[0] == contents[1]
    assert contents[1] != contents[2]
    assert len({text.fingerprint for text in packed}) == 2


def test_sources_are_spread_over_the_slice(two: tuple[Path, Path]) -> None:
    of_source, documents = plan_of(two[0], f"en={two[1]}:0.3", stage_shares=(1.0,)).stage(0).order()
    assert len(of_source) == len(documents)
    shares = [part.mean() for part in np.array_split(of_source, 5)]
    assert max(shares) - min(shares) < 0.1
    assert 0.1 < np.mean(shares) < 0.6


def test_copies_of_a_document_do_not_lie_side_by_side(tmp_path: Path) -> None:
    lines = [f"문서 {number}" for number in range(200)] * 5
    plan = plan_of(written(tmp_path / "copies.txt", "\n".join(lines)), stage_shares=(1.0,))
    texts = texts_of(plan, 0, [tmp_path / "copies.txt"])[0]
    assert Counter(texts) == Counter(lines)
    assert sum(a == b for a, b in pairwise(texts)) < 20


# --- What is left out ------------------------------------------------------------------------------------------------


def test_what_a_sweep_held_out_is_not_trained_on(swept: Path) -> None:
    sweep = json.loads((swept / "sweep.json").read_text("utf-8"))
    held_out = HeldOut.of_sweep(read_sweep(swept))
    assert held_out == HeldOut(share=0.05, seed=0)
    split = split_heldout(lines_in(NEWS))
    plan = plan_of(NEWS, held_out=held_out, stage_shares=(1.0,))
    assert Counter(texts_of(plan, 0, [NEWS])[0]) == Counter(split[TRAIN])
    assert plan.in_numbers().n_documents == sweep["sets"][TRAIN]["n_documents"]
    assert plan.in_numbers().n_bytes == sweep["sets"][TRAIN]["n_bytes"]
    left_out = list(held_out_documents(named_set("ko", str(NEWS), "eval"), ReadOptions(), held_out))
    assert left_out == split[HELDOUT]
    assert len(left_out) == sweep["sets"][HELDOUT]["n_documents"] == plan.sources[0].n_held_out > 0


def test_the_seed_holds_out_other_documents_and_says_so_as_the_sweep_does() -> None:
    split = split_heldout(lines_in(NEWS), share=0.1, seed=7)
    plan = plan_of(NEWS, held_out=HeldOut(share=0.1, seed=7), stage_shares=(1.0,))
    assert Counter(texts_of(plan, 0, [NEWS])[0]) == Counter(split[TRAIN])


def test_documents_equal_to_evaluation_text_are_left_out(tmp_path: Path) -> None:
    lines = lines_in(NEWS)
    evaluated = written(tmp_path / "eval.jsonl", "\n".join(json.dumps({"text": line}) for line in lines[::3]))
    exclude = hashes_of_documents([(named_set("eval", str(evaluated), "eval"), ReadOptions())])
    plan = plan_of(NEWS, exclude=exclude, stage_shares=(1.0,))
    assert Counter(texts_of(plan, 0, [NEWS])[0]) == Counter(line for line in lines if line not in set(lines[::3]))
    assert plan.sources[0].n_excluded == len([line for line in lines if line in set(lines[::3])])


# --- Budgets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "amount", "unit"),
    [
        ("10MB", 10_000_000, "bytes"),
        ("500kB", 500_000, "bytes"),
        ("1.5GB", 1_500_000_000, "bytes"),
        ("2GiB", 2 << 30, "bytes"),
        ("2Btok", 2_000_000_000, "tokens"),
        ("300Mtok", 300_000_000, "tokens"),
        ("1,000 tokens", 1_000, "tokens"),
    ],
)
def test_budgets(value: str, amount: int, unit: str) -> None:
    assert parse_budget(value) == Budget(amount=amount, unit=unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["2B", "10", "ten MB", "0MB", "0tok", "-5MB", "MB", "2Xtok", "10MB/s"])
def test_what_is_no_budget_is_refused(value: str) -> None:
    with pytest.raises(OptionError, match=rf"--budget {value}: write a number .*10MB.*2Btok"):
        parse_budget(value)


def test_a_budget_in_tokens_is_met_by_the_packed_text(
    two: tuple[Path, Path], tokenizers_: dict[str, PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    sources = scan_text(sources_of(two[0], f"en={two[1]}:0.3"))
    tokenizer = tokenizers_["llama-like"]
    amount = budget_in_bytes(parse_budget("40ktok"), sources, tokenizer)
    plan = cut_text(sources, budget_bytes=amount, stage_shares=(1.0,), seed=0)
    packed = pack_stage(plan, 0, tokenizer, context_tokens=128, folder=tmp_path)
    assert packed.n_tokens == pytest.approx(40_000, rel=0.03)
    assert [len(source.sample) for source in sources] == [len(set(lines_in(path))) for path in two]
    assert budget_in_bytes(parse_budget("70kB"), sources, tokenizer) == 70_000


def test_the_sample_of_a_long_text_is_bounded_and_does_not_depend_on_its_order(tmp_path: Path) -> None:
    lines = [f"{number} {'가나다라 ' * 300}" for number in range(1_500)]
    a = scan_text(sources_of(written(tmp_path / "a.txt", "\n".join(lines))))[0].sample
    b = scan_text(sources_of(written(tmp_path / "b.txt", "\n".join(lines[::-1]))))[0].sample
    assert a == b
    assert 1 << 20 <= n_bytes(a) < (1 << 20) + 5_000
    long = scan_text(sources_of(written(tmp_path / "c.txt", "가" * 100_000)))[0].sample
    assert long == ("가" * ((1 << 16) // 3),)


# --- Refusals --------------------------------------------------------------------------------------------------------


def test_replay_text_is_read_twice_so_not_from_standard_input(two: tuple[Path, Path]) -> None:
    with pytest.raises(OptionError, match=r"--replay en=-:0.2: standard input can be read once"):
        sources_of(two[0], "en=-:0.2")


def test_replay_text_that_is_not_there_is_named(two: tuple[Path, Path]) -> None:
    with pytest.raises(CorpusError, match=r"--replay en=/nowhere:0.2: /nowhere: no such file or folder"):
        sources_of(two[0], "en=/nowhere:0.2")


def test_budgets_that_are_too_small_are_refused(two: tuple[Path, Path]) -> None:
    with pytest.raises(OptionError, match=r"--budget 0: no text to train on"):
        plan_of(two[0], budget_bytes=0)
    with pytest.raises(
        OptionError, match=r"ko: stage 1 is to have 50.0% of 20 bytes, which is no whole document .*--budget"
    ):
        plan_of(two[0], budget_bytes=20)
    with pytest.raises(OptionError, match=r"en: its share 0.001 of the training text is 2 bytes, .* Raise its share"):
        plan_of(two[0], f"en={two[1]}:0.001", budget_bytes=2_000)


def test_text_of_fewer_documents_than_stages_is_told_to_have_too_few(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"ko: has 1 document to train on.* 3 stages need more.*--plan full"):
        plan_of(written(tmp_path / "a.txt", "one line alone"))


def test_text_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    text = written(tmp_path / "a.txt", "가\n\n나\n")
    exclude = hashes_of_documents([(named_set("eval", str(text), "eval"), ReadOptions())])
    with pytest.raises(CorpusError, match=r"ko: no document of .*a.txt is left.* 2 equal to evaluation text.*1 blank"):
        plan_of(text, exclude=exclude)
    with pytest.raises(CorpusError, match=r"2 blank. Give more text"):
        plan_of(written(tmp_path / "blank.txt", "\n \n"))
    with pytest.raises(OptionError, match=r"held-out share 1.5: must be at least 0 and below 1"):
        HeldOut(share=1.5)
