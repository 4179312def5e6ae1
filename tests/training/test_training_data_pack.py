"""Packed text: what is in a block, that it can be gone on from anywhere, reuse, exposure, and what is refused."""

import json
import pickle
import re
import resource
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from command_line import written
from helpers import lines_of, without_bytes
from stages import tiny_llama
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizerLegacy, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trainer.data import (
    PackedText,
    TextPlan,
    cut_text,
    exposure,
    occurrences,
    pack_stage,
    scan_text,
    target_and_replays,
)
from trainer.document_ends import document_ends
from trainer.plan import Stage
from trainer.stages import StageSettings, run_stage
from vocabopt.console import Console
from vocabopt.errors import BaseTokenizerError, CorpusError, OptionError, RunDirectoryError, TrainingError
from vocabopt.folder import read_json
from vocabopt.options import EngineOptions
from vocabopt.records import json_of
from vocabopt.text.readers import ReadOptions
from vocabopt.tokenizer import Tokenizer
from vocabopt.training_record import Exposure

SYLLABLES = "가나다라마바사"


def plan_of(path: Path, stage_shares: Sequence[float] = (1.0,), **options: Any) -> TextPlan:
    sources = target_and_replays(("ko", str(path)), {}, ReadOptions())
    settings: dict[str, Any] = {"budget_bytes": None, "seed": 0} | options
    return cut_text(scan_text(sources), stage_shares=stage_shares, **settings)


@pytest.fixture(scope="module")
def syllables() -> PreTrainedTokenizerBase:
    """One token a syllable: 가 is 2, 나 3 ...; <s> is 0 and </s> 1."""
    vocab = {token: i for i, token in enumerate(["<s>", "</s>", *SYLLABLES])}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab, []))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def gpt2_tokenizer(folders: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folders / "gpt2-like")
    return tokenizer


@pytest.fixture(scope="module")
def korean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("text") / "ko.txt", "\n".join(lines_of("ko")[:500]))


@pytest.fixture(scope="module")
def packed(
    korean: Path, gpt2_tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> PackedText:
    folder = tmp_path_factory.mktemp("packed")
    return pack_stage(plan_of(korean), 0, gpt2_tokenizer, context_tokens=100, folder=folder)


# --- Blocks ----------------------------------------------------------------------------------------------------------


def test_blocks_are_as_worked_by_hand(syllables: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Documents of 4, 6 and 3 tokens in blocks of 5: the second goes on in the next block, three tokens fill up."""
    path = written(tmp_path / "a.txt", "가나\n다라마바\n사\n")
    plan = plan_of(
        path, seed=next(s for s in range(99) if list(plan_of(path, seed=s).stage(0).documents[0]) == [0, 1, 2])
    )
    packed = pack_stage(plan, 0, syllables, context_tokens=5, folder=tmp_path / "packed")
    assert (packed.n_blocks, packed.n_tokens, packed.n_documents, packed.n_bytes) == (3, 13, 3, 21)
    none = -100
    expected = [
        ([0, 2, 3, 1, 0], [0, 1, 2, 3, 0], [none, 2, 3, 1, none]),
        ([4, 5, 6, 7, 1], [0, 1, 2, 3, 4], [none, 5, 6, 7, 1]),
        ([0, 8, 1, 1, 1], [0, 1, 2, 0, 1], [none, 8, 1, none, none]),
    ]
    for index, rows in enumerate(expected):
        block = packed.block(index)
        assert tuple(block[name].tolist() for name in ("input_ids", "position_ids", "labels")) == rows
        assert all(row.dtype == np.int64 for row in block.values())


def test_blocks_hold_the_tokenizers_ids_of_every_document_between_its_two_ends(
    packed: PackedText, korean: Path, gpt2_tokenizer: PreTrainedTokenizerBase
) -> None:
    lines = korean.read_text("utf-8").split("\n")
    end = gpt2_tokenizer.eos_token_id
    encoded = [tuple(gpt2_tokenizer(line, add_special_tokens=False)["input_ids"]) for line in lines]
    stream = packed.tokens[: packed.n_tokens].tolist()
    stops = [*packed.starts[1:].tolist(), packed.n_tokens]
    documents = [tuple(stream[start:stop]) for start, stop in zip(packed.starts.tolist(), stops, strict=True)]
    assert Counter(documents) == Counter((end, *ids, end) for ids in encoded)
    assert json_of(packed.sources["ko"]) == {
        "n_documents": len(lines),
        "n_bytes": sum(len(line.encode()) for line in lines),
        "n_tokens": sum(len(ids) + 2 for ids in encoded),
        "n_lost_chars": 0,
    }
    assert packed.tokens[packed.n_tokens :].tolist() == [end] * (packed.n_blocks * 100 - packed.n_tokens)


def test_every_token_but_first_ones_is_a_label_once(packed: PackedText) -> None:
    labels = np.concatenate([packed.block(i)["labels"] for i in range(packed.n_blocks)])
    first = np.union1d(packed.starts, np.arange(0, packed.n_tokens, packed.context_tokens))
    expected = packed.tokens[: packed.n_tokens].astype(np.int64)
    expected[first] = -100
    assert np.array_equal(labels[: packed.n_tokens], expected)
    assert (labels[packed.n_tokens :] == -100).all()


def test_a_text_that_ends_with_a_block_has_no_filling(syllables: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "가나\n다라\n")
    packed = pack_stage(plan_of(path), 0, syllables, context_tokens=4, folder=tmp_path / "packed")
    assert (packed.n_blocks, len(packed.tokens)) == (2, 8)
    assert packed.block(1)["labels"].tolist()[1:] == packed.block(1)["input_ids"].tolist()[1:]


def test_a_repeated_document_is_there_as_often_as_the_budget_repeats_it(
    syllables: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.txt", "가나\n다라\n마바\n")
    packed = pack_stage(plan_of(path, budget_bytes=54), 0, syllables, context_tokens=4, folder=tmp_path / "packed")
    blocks = [tuple(packed.block(i)["input_ids"].tolist()) for i in range(packed.n_blocks)]
    assert Counter(blocks) == {(0, 2, 3, 1): 3, (0, 4, 5, 1): 3, (0, 6, 7, 1): 3}
    assert (packed.n_documents, packed.n_bytes) == (9, 54)


def test_ids_take_two_bytes_where_they_fit(packed: PackedText, korean: Path, tmp_path: Path) -> None:
    assert packed.dtype == "uint16"
    vocab = {token: i for i, token in enumerate(["</s>", *pre_tokenizers.ByteLevel.alphabet()])} | {"x": 70_000}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    large = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    text = written(tmp_path / "x.txt", "xyz\n" * 10)
    wide = pack_stage(plan_of(text), 0, large, context_tokens=5, folder=tmp_path / "wide")
    assert wide.dtype == "uint32"
    assert wide.block(0)["input_ids"].tolist() == [0, 70_000, vocab["y"], vocab["z"], 0]


@pytest.mark.parametrize(
    ("name", "n_workers"),
    [
        ("llama-like", 1),
        *(pytest.param(name, 2, marks=pytest.mark.slow) for name in ("gpt2-like", "llama-like", "qwen2-like")),
    ],
)
def test_the_files_are_the_same_whoever_encodes(
    name: str, n_workers: int, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process and several; text in one part and in many; gigatoken, and `tokenizers` in its place."""
    text = "\n".join(
        [*lines_of("ko")[:1500], "a </s> b", "<|endoftext|>", "▁ 가", "\U00010949's", *lines_of("en")[:300]]
    )
    path = written(tmp_path / "a.txt", text)
    tokenizer = AutoTokenizer.from_pretrained(folders / name)
    found = set()
    for number, (shard_bytes, workers) in enumerate([(1 << 30, 1), (20_000, n_workers), (1 << 30, 1)]):
        monkeypatch.setattr("trainer.data.documents.SHARD_BYTES", shard_bytes)
        monkeypatch.setattr("trainer.data.shards.SHARD_BYTES", shard_bytes)
        if number == 2:
            monkeypatch.setattr("trainer.data.encoder.WholeEncoder.of", lambda *given: None)
        folder, engine_options = tmp_path / str(number), EngineOptions(workers=workers)
        pack_stage(plan_of(path), 0, tokenizer, context_tokens=64, folder=folder, engine_options=engine_options)
        found.add(tuple((file.name, file.read_bytes()) for file in sorted(folder.iterdir())))
    assert len(found) == 1


# --- The dataset -----------------------------------------------------------------------------------------------------


def test_items_depend_on_the_index_alone_so_training_goes_on_from_any(packed: PackedText) -> None:
    whole = [item["input_ids"].tolist() for item in (packed.dataset(5)[i] for i in range(packed.n_blocks))]
    again = PackedText.read(packed.folder).dataset(5)
    for index in (packed.n_blocks - 1, 7, 0):
        assert again[index]["input_ids"].tolist() == whole[index]
    assert sorted(whole) == sorted(packed.block(i)["input_ids"].tolist() for i in range(packed.n_blocks))
    assert [packed.dataset(6)[i]["input_ids"].tolist() for i in range(packed.n_blocks)] != whole


def test_the_dataset_goes_to_other_processes_without_its_text(packed: PackedText) -> None:
    dataset = packed.dataset(0)
    sent = pickle.dumps(dataset)
    assert len(sent) < 2_000 < packed.tokens.nbytes
    assert torch.equal(pickle.loads(sent)[3]["labels"], dataset[3]["labels"])


# --- Reuse -----------------------------------------------------------------------------------------------------------


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def _without_last_merge(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A tokenizer that differs in nothing else: the same ids, and the same ends of documents."""
    value = json.loads(tokenizer.backend_tokenizer.to_str())
    value["model"]["merges"].pop()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(value)),
        eos_token=tokenizer.eos_token,
        bos_token=tokenizer.bos_token,
    )


def test_packed_text_is_made_once_for_the_same_text_tokenizer_and_context(
    korean: Path, gpt2_tokenizer: PreTrainedTokenizerBase, folders: Path, tmp_path: Path
) -> None:
    plan = plan_of(korean, (0.5, 0.5))
    pack_stage(plan, 0, gpt2_tokenizer, context_tokens=50, folder=tmp_path)
    first = _state(tmp_path)
    assert sorted(first) == ["packed.json", "starts.npy", "tokens.bin"]
    pack_stage(plan_of(korean, (0.5, 0.3, 0.2)), 0, gpt2_tokenizer, context_tokens=50, folder=tmp_path)
    assert _state(tmp_path) == first  # the first slice of another plan is the same text
    other = AutoTokenizer.from_pretrained(folders / "llama-like")
    changed = [
        pack_stage(plan, 1, gpt2_tokenizer, context_tokens=50, folder=tmp_path),
        pack_stage(plan, 1, gpt2_tokenizer, context_tokens=60, folder=tmp_path),
        pack_stage(plan, 1, other, context_tokens=60, folder=tmp_path),
        pack_stage(plan, 1, _without_last_merge(gpt2_tokenizer), context_tokens=60, folder=tmp_path),
    ]
    assert len({packed.fingerprint for packed in changed}) == 4
    pack_stage(plan, 0, gpt2_tokenizer, context_tokens=50, folder=tmp_path)
    assert {name: data for name, (_, data) in _state(tmp_path).items()} == {
        name: data for name, (_, data) in first.items()
    }


@pytest.mark.parametrize("damage", ["cut", "gone", "unfinished", "broken"])
def test_files_that_are_not_whole_are_made_again(
    damage: str, korean: Path, gpt2_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    plan = plan_of(korean)
    packed = pack_stage(plan, 0, gpt2_tokenizer, context_tokens=50, folder=tmp_path)
    expected = (tmp_path / "tokens.bin").read_bytes()
    if damage == "cut":
        (tmp_path / "tokens.bin").write_bytes(expected[:-2])
    elif damage == "gone":
        (tmp_path / "starts.npy").unlink()
    elif damage == "unfinished":
        (tmp_path / "packed.json").unlink()
        (tmp_path / "tokens.bin").write_bytes(b"\0" * len(expected))
    else:
        (tmp_path / "packed.json").write_text('{"format_version": 1}')
    again = pack_stage(plan, 0, gpt2_tokenizer, context_tokens=50, folder=tmp_path)
    assert (tmp_path / "tokens.bin").read_bytes() == expected
    assert again == packed


def test_an_unfinished_folder_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"packed.json: not found. Pack the text again"):
        PackedText.read(tmp_path)


# --- Exposure --------------------------------------------------------------------------------------------------------


def test_exposure_is_how_often_each_new_token_stands_in_the_text_of_all_stages(
    korean: Path, gpt2_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    plan = plan_of(korean, (0.5, 0.5))
    stages = [pack_stage(plan, i, gpt2_tokenizer, context_tokens=64, folder=tmp_path / str(i)) for i in range(2)]
    found = Counter(
        token for line in korean.read_text("utf-8").split("\n") for token in gpt2_tokenizer(line)["input_ids"]
    )
    new_ids = [*range(1_500, 2_000), 400, 5_000]
    seen = exposure(stages, new_ids)
    assert occurrences(stages, new_ids).tolist() == [found[token] for token in new_ids]
    in_order = sorted(found[token] for token in new_ids)
    assert (seen.n_new, seen.n_unseen) == (502, in_order.count(0))
    assert (seen.median, seen.p10) == (in_order[250], in_order[50])
    assert exposure(stages, []) == Exposure(n_new=0, n_unseen=0, median=None, p10=None)


# --- Which text a block is --------------------------------------------------------------------------------------------


@pytest.fixture
def two_files(tmp_path: Path, syllables: PreTrainedTokenizerBase) -> PackedText:
    """Blank lines and a repeated document; 사 is in the third document of the second file alone."""
    written(tmp_path / "text" / "a.txt", "가나다\n\n라마바\n" + "가라\n" * 20)
    written(tmp_path / "text" / "b.txt", "나나나\n\n마마\n다사라\n" + "바바\n" * 20)
    plan = plan_of(tmp_path / "text")
    return pack_stage(plan, 0, syllables, context_tokens=8, folder=tmp_path / "packed")


def test_a_block_names_the_documents_in_it(two_files: PackedText, syllables: PreTrainedTokenizerBase) -> None:
    """In the order of the text: what is named first has the block's first token, though its start may lie before."""
    dataset, n_told = two_files.dataset(5), 0
    for index in range(two_files.n_blocks):
        told = re.findall(r'ko: \S+/([ab])\.txt, document (\d+) \("(\w+)"\)', two_files.text_of([index], 5))
        ids = dataset[index]["input_ids"].tolist()
        pieces = syllables.decode(ids).replace("<s>", " ").replace("</s>", " ").split()
        assert told
        # The first and last document may be in the block in part.
        assert all(piece in text for piece, (_, _, text) in zip(pieces, told, strict=False) if ids[0] == 0)
        for name, number, text in told:
            lines = (two_files.folder.parent / "text" / f"{name}.txt").read_text(encoding="utf-8").split()
            assert lines[int(number) - 1] == text
        n_told += len(told)
    assert n_told >= 46
    assert two_files.text_of(range(two_files.n_blocks), 5).endswith("; and 42 more")
    assert PackedText.read(two_files.folder).text_of([0], 5) == ""


def test_text_that_is_gone_is_named_by_its_place(two_files: PackedText) -> None:
    for path in (two_files.folder.parent / "text").iterdir():
        path.unlink()
    assert re.fullmatch(r"(ko: document \d+(; |$))+(and \d more)?", two_files.text_of([0], 5))


def test_a_loss_that_is_no_number_names_the_file_and_the_document(two_files: PackedText, tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[8] = float("nan")  # 사
    settings = StageSettings(context_tokens=8, batch_tokens=8, micro_batch=1, cpu=True)
    with pytest.raises(
        TrainingError,
        match=r"loss nan in step \d+, blocks (\d+) to \1 of its text \(seed 0\), which are "
        r'.*ko: \S+/text/b\.txt, document 3 \("다사라"\)',
    ):
        run_stage(
            model, Stage(name="s", blocks="odd"), two_files, settings, tmp_path / "out", console=Console(quiet=True)
        )


# --- Refusals --------------------------------------------------------------------------------------------------------


def test_text_that_is_too_short_is_refused_and_leaves_no_file(
    syllables: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    plan = plan_of(written(tmp_path / "a.txt", "가나\n다라\n"), (0.5, 0.5))
    out = tmp_path / "out"
    with pytest.raises(
        OptionError, match=r"stage 2: its text is 6 bytes, 4 tokens, less than one block .* 9 tokens.*--budget"
    ):
        pack_stage(plan, 1, syllables, context_tokens=9, folder=out)
    assert list(out.iterdir()) == []
    pack_stage(plan, 1, syllables, context_tokens=4, folder=out)
    with pytest.raises(OptionError, match=r"--context 1: must be at least 2 tokens"):
        pack_stage(plan, 1, syllables, context_tokens=1, folder=out)


def test_text_that_changes_between_planning_and_packing_is_refused(
    syllables: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.txt", "가나\n다라\n")
    plan = plan_of(path)
    for changed in ("가나\n다마\n", "가나\n다라\n다라\n", "가나\n", ""):
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(CorpusError, match=r"a\.txt:? changed (since the run began|while it was prepared)"):
            pack_stage(plan, 0, syllables, context_tokens=4, folder=tmp_path / "out")


def test_a_folder_that_is_a_file_is_refused(syllables: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "가나\n다라\n")
    with pytest.raises(RunDirectoryError, match=r"a.txt: is a file, not a folder"):
        pack_stage(plan_of(path), 0, syllables, context_tokens=4, folder=path)


def test_a_full_disk_is_said_and_leaves_no_file(
    korean: Path, gpt2_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """A limit on the size of files stands for it: to the program both are a write that fails."""
    plan = plan_of(korean)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
    try:
        with pytest.raises(RunDirectoryError, match=r"the token ids of the text cannot be written \(File too large\)"):
            pack_stage(plan, 0, gpt2_tokenizer, context_tokens=50, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_the_start_of_a_document_is_the_first_token_of_the_model_or_else_its_end(
    syllables: PreTrainedTokenizerBase, gpt2_tokenizer: PreTrainedTokenizerBase, folders: Path
) -> None:
    assert ids_of(syllables) == (0, 1)
    assert ids_of(gpt2_tokenizer) == (gpt2_tokenizer.eos_token_id,) * 2
    qwen2 = AutoTokenizer.from_pretrained(folders / "qwen2-like")
    assert qwen2.bos_token_id is None
    # Its end token is <|im_end|>, which marks turns.
    assert ids_of(qwen2) == (qwen2.convert_tokens_to_ids("<|endoftext|>"),) * 2


def ids_of(tokenizer: PreTrainedTokenizerBase) -> tuple[int | None, int | None]:
    ends = document_ends(tokenizer)
    return ends.start_id, ends.end_id


def test_a_tokenizer_without_an_end_packs_documents_that_nothing_closes(tmp_path: Path) -> None:
    """They are kept apart all the same: positions restart, and nothing is predicted across a border."""
    own = tokenizers.Tokenizer(models.BPE({"가": 0, "나": 1}, []))
    own.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own)
    plan = plan_of(written(tmp_path / "a.txt", "가나\n나나나\n"))
    packed = pack_stage(plan, 0, tokenizer, context_tokens=5, folder=tmp_path / "out")
    assert (packed.n_tokens, packed.end_id) == (5, None)
    assert sorted(np.diff([*packed.starts, packed.n_tokens])) == [2, 3]
    block = packed.block(0)
    assert [place for place, label in enumerate(block["labels"]) if label == -100] == list(packed.starts)
    assert (block["position_ids"][packed.starts] == 0).all()


def test_a_tokenizer_that_encodes_in_python_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    tokenizer = BertTokenizerLegacy(str(path), eos_token="[SEP]")
    with pytest.raises(BaseTokenizerError, match=r"encodes in Python. Use a folder with a tokenizer.json"):
        pack_stage(plan_of(written(tmp_path / "a.txt", "a\n")), 0, tokenizer, context_tokens=2, folder=tmp_path / "out")


def test_a_tokenizer_that_does_not_know_a_character_is_refused(tmp_path: Path) -> None:
    """In the last of many documents: all are looked at."""
    model = models.BPE({"</s>": 0, "<unk>": 1, "가": 2}, [], unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(model), eos_token="</s>")
    plan = plan_of(written(tmp_path / "a.txt", "가\n" * 50 + "가뷁\n"))
    with pytest.raises(BaseTokenizerError, match=r"characters it does not know as <unk>.*begins '가뷁'.*byte fallback"):
        pack_stage(plan, 0, tokenizer, context_tokens=4, folder=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda own: setattr(own, "normalizer", normalizers.Replace(" ", "")),
            r"drops a part .*'가 나' comes back as '가나'",
        ),
        (lambda own: setattr(own, "normalizer", normalizers.Strip()), r"'가 나  ' comes back as '가 나'"),
    ],
    ids=["spaces", "ends"],
)
def test_a_tokenizer_that_drops_text_is_refused(change: Any, match: str, tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(models.BPE({"</s>": 0, "가": 1, "나": 2, " ": 3}, []))
    tokenizer.decoder = decoders.Fuse()
    change(tokenizer)
    text = "가 나  \n" * 3 if "  " in match else "가 나\n" * 3
    plan = plan_of(written(tmp_path / "a.txt", text))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    with pytest.raises(BaseTokenizerError, match=match):
        pack_stage(plan, 0, fast, context_tokens=4, folder=tmp_path / "out")


@pytest.mark.parametrize("name", ["llama-like", "gpt2-like", "qwen2-like"])
def test_tokenizers_that_keep_their_text_pass(name: str, folders: Path, tmp_path: Path) -> None:
    """A dummy prefix, NFC, leading spaces, a literal ▁ and special tokens in the text are no loss."""
    texts = ["plain text", " 한글 앞의 빈칸", "한글 자모", "▁ and </s> and <|endoftext|>", "tab\tand  two"]
    plan = plan_of(written(tmp_path / "a.txt", "\n".join(texts)))
    tokenizer = AutoTokenizer.from_pretrained(folders / name)
    tokenizer("truncated", truncation=True, max_length=2)  # which transformers leaves set in its own copy
    packed = pack_stage(plan, 0, tokenizer, context_tokens=8, folder=tmp_path / "out")
    expected = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 2 for text in texts)
    assert packed.n_tokens == expected


@pytest.mark.parametrize("unknown", [None, "<|unknown|>", "<|endoftext|>"])
@pytest.mark.parametrize("place", [0, 9], ids=["first", "last"])
def test_characters_without_a_token_are_counted_wherever_they_stand(
    place: int, unknown: str | None, gpt2_like: Tokenizer, tmp_path: Path
) -> None:
    """As a sweep counts them: bytes 01 and F1 are missing, as SmolLM2 lacks them."""
    value = without_bytes(gpt2_like, [0x01, 0xF1])
    value["model"] |= {"unk_token": unknown, "fuse_unk": False}
    if unknown == "<|unknown|>":
        value["model"]["vocab"][unknown] = max(value["model"]["vocab"].values()) + 1
    own = tokenizers.Tokenizer.from_str(json.dumps(value))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<|endoftext|>")
    lines = [f"한글 {number}" for number in range(10)]
    lines[place] = "a\x01b\x01 \U00041234가"
    plan = plan_of(written(tmp_path / "a.txt", "\n".join(lines)))
    packed = pack_stage(plan, 0, tokenizer, context_tokens=8, folder=tmp_path / "out")
    assert packed.sources["ko"].n_lost_chars == 3
    if unknown is None:
        encoded = own.encode_batch(lines, add_special_tokens=False)
        kept = "".join(own.decode(encoding.ids) for encoding in encoded)
        assert "ab" in kept
        assert "\x01" not in kept
        assert "\U00041234" not in kept


def test_a_tokenizer_that_tears_characters_is_refused(gpt2_like: Tokenizer, tmp_path: Path) -> None:
    """Byte 9F stands inside characters, so what is left of them is no text; a sweep takes no such base either."""
    own = tokenizers.Tokenizer.from_str(json.dumps(without_bytes(gpt2_like, [0x01, 0x9F])))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<|endoftext|>")
    plan = plan_of(written(tmp_path / "a.txt", "가\n" * 20 + "럟 가\x01\n"))
    with pytest.raises(BaseTokenizerError, match=r"the bytes 01 9F, some of which .* tears 2 characters, .* '럟 가"):
        pack_stage(plan, 0, tokenizer, context_tokens=8, folder=tmp_path / "out")


def test_packed_json_says_what_is_in_the_folder(packed: PackedText) -> None:
    record = read_json(packed.folder / "packed.json", next_step="")
    assert record == json.loads((packed.folder / "packed.json").read_text("utf-8"))
    assert {name: record[name] for name in ("n_tokens", "context_tokens", "dtype")} == {
        "n_tokens": packed.n_tokens,
        "context_tokens": 100,
        "dtype": "uint16",
    }
