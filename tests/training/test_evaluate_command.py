"""`vocabopt eval`: its numbers, its tables, and what it refuses before anything is computed."""

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import assert_refused, vocabopt, written
from evaluation import bits, nats_alone, one_thread, tiny_model  # noqa: F401
from helpers import CORPUS, library_tokenizer, lines_of
from transformers import AutoModelForCausalLM

import trainer.evaluate.harness as harness
from trainer.evaluate.harness import macro_f1
from trainer.evaluate.tasks import TASKS, read_items
from trainer.measuring_options import EvalOptions
from vocabopt.errors import CorpusError, OptionError, VocaboptError

pytestmark = pytest.mark.usefixtures("one_thread")

ENGLISH = CORPUS / "en" / "news.txt"


@pytest.fixture(scope="module")
def folder(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights beside the tokenizer of the Llama-like base."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    tiny_model("llama", 2_048).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((folders / "llama-like" / name).read_bytes())
    return folder


def measured(*arguments: object) -> dict[str, Any]:
    result = vocabopt("eval", *arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    record: dict[str, Any] = json.loads(result.stdout)
    return record


# --- Texts -----------------------------------------------------------------------------------------------------------


def test_its_numbers_are_those_of_each_line_alone(folder: Path, tmp_path: Path) -> None:
    lines = lines_of("ko")[:3] + lines_of("en")[:3]
    path = written(tmp_path / "mixed.txt", "\n\n".join(lines))
    text = measured(folder, "--text", f"mixed={path}", "--context", 128)["texts"]["mixed"]
    library, model = library_tokenizer(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = [library.encode(line, add_special_tokens=False).ids for line in lines]
    assert max(map(len, ids)) < 256
    nats = sum(nats_alone(model, 1, part) for each in ids for part in (each[:127], each[127:254]) if part)
    n_bytes = sum(len(line.encode()) for line in lines)
    assert (text["n_documents"], text["n_bytes"], text["n_tokens"]) == (6, n_bytes, sum(map(len, ids)))
    assert text["bits_per_byte"] == pytest.approx(bits(nats) / n_bytes, rel=1e-5)
    assert text["tokens_per_byte"] == pytest.approx(text["n_tokens"] / n_bytes)
    assert text["nats_per_token"] == pytest.approx(nats / text["n_tokens"], rel=1e-5)


def test_limit_batch_and_precision(folder: Path) -> None:
    given = ("--text", f"en={ENGLISH}", "--limit", "2kB")
    record = measured(folder, *given)
    text = record["texts"]["en"]
    lines = ENGLISH.read_text(encoding="utf-8").split("\n")
    lines = [line for line in lines if line.strip()][: text["n_documents"]]
    assert sum(len(line.encode()) for line in lines[:-1]) < 2_000 <= text["n_bytes"]
    assert record["options"]["context_tokens"] == 128  # the model's positions
    assert (record["device"], record["dtype"]) == ("cpu", "float32")
    alone = measured(folder, *given, "--batch", 1)["texts"]["en"]
    assert alone["bits_per_byte"] == pytest.approx(text["bits_per_byte"], rel=1e-6)
    rough = measured(folder, *given, "--precision", "bf16")
    assert rough["dtype"] == "bfloat16"
    assert rough["texts"]["en"]["bits_per_byte"] == pytest.approx(text["bits_per_byte"], rel=0.02)
    overlapping = measured(folder, *given, "--context", 32, "--stride", 8)["texts"]["en"]
    assert overlapping["n_tokens"] == text["n_tokens"]
    assert overlapping["nll_nats"] != pytest.approx(text["nll_nats"])


def test_tables_and_files(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "eval.json"
    korean = CORPUS / "ko" / "news.txt"
    result = vocabopt("eval", folder, "--text", f"en={ENGLISH}", "--text", f"ko={korean}", "--limit", 500, "--out", out)
    assert result.exit_code == 0, result.output
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["format_version"] == 1
    for name, text in record["texts"].items():
        (row,) = [line for line in result.stdout.split("\n") if line.split()[:1] == [name]]
        assert row.split()[2:6] == [
            str(text["n_bytes"]),
            str(text["n_tokens"]),
            f"{text['tokens_per_byte']:.4f}",
            f"{text['bits_per_byte']:.4f}",
        ]
    assert "not comparable between models of different tokenizers" in result.stdout
    assert f"Written: {out}" in result.stdout.replace("\n", "")
    assert "score ko: done in" in result.stderr
    assert vocabopt("eval", folder, "--text", f"en={ENGLISH}", "--limit", 500, "--quiet").output == ""


def test_the_tokenizer_may_come_from_elsewhere(folder: Path, folders: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    tiny_model("llama", 2_048).save_pretrained(bare)
    given = ("--text", f"en={ENGLISH}", "--limit", 500)
    lent = measured(bare, *given, "--tokenizer", folders / "llama-like")
    assert lent["texts"] == measured(folder, *given)["texts"]
    assert lent["tokenizer"] == str(folders / "llama-like")
    assert_refused(vocabopt("eval", bare, *given), r"bare: holds no tokenizer .* --tokenizer", bare)


def test_what_cannot_be_measured_is_refused(folder: Path, tmp_path: Path) -> None:
    blank = written(tmp_path / "blank.txt", " \n\n")
    english = ("--text", f"en={ENGLISH}")
    for arguments, match in (
        ((), r"Nothing to measure. Name text with --text NAME=PATH"),
        (("--text", f"none={blank}"), rf"--text none={blank}: holds no documents"),
        (("--text", "en=missing.txt"), "missing.txt: no such file"),
        ((*english, "--context", 129), "--context 129: the model has 128 positions"),
        ((*english, "--stride", 128), "--stride 128: must be from 1 to 127"),
        ((*english, "--batch", 0), "--batch 0: must be at least 1"),
        ((*english, "--limit", "much"), "--limit much: write a number"),
        ((*english, "--device", "cuda:77"), "--device cuda:77: is not to be had here"),
        ((*english, "--device", "toaster"), "--device toaster: is not to be had here"),
        ((*english, "--out", tmp_path), rf"--out {tmp_path}: is a folder"),
        (("--tasks", "kobest,sudoku"), r"--tasks sudoku: no such task. There are: kobest, piqa, blimp, kobest_boolq"),
        (("--tasks", "kobest"), "--tasks kobest: is read from local files. .* --tasks-data"),
        ((*english, "--tasks-data", tmp_path), "names data of no task"),
        (
            ("--tasks", "kobest_copa", "--tasks-data", tmp_path),
            rf"--tasks-data {tmp_path}: no copa_test.jsonl or copa_validation.jsonl \(or .jsonl.gz\)",
        ),
    ):
        assert_refused(vocabopt("eval", folder, *arguments), match, tmp_path)


def test_a_tokenizer_that_cannot_be_loaded_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "tokenizer.json").write_text("{}", encoding="utf-8")
    result = vocabopt("eval", folder, "--text", f"en={ENGLISH}", "--tokenizer", broken)
    assert_refused(result, "broken: transformers cannot load its tokenizer", tmp_path)


def without_bytes(folders: Path, folder: Path, **settings: str) -> Path:
    """The Llama-like tokenizer without its byte pieces, which cannot spell Hangul."""
    value = json.loads((folders / "llama-like" / "tokenizer.json").read_text(encoding="utf-8"))
    value["model"]["byte_fallback"] = False
    written(folder / "tokenizer.json", json.dumps(value))
    written(folder / "tokenizer_config.json", json.dumps({"bos_token": "<s>", "unk_token": "<unk>", **settings}))
    return folder


def test_unknown_tokens_are_told(folders: Path, folder: Path, tmp_path: Path) -> None:
    """What a tokenizer loses, it cannot be charged for."""
    lossy = without_bytes(folders, tmp_path / "lossy", tokenizer_class="PreTrainedTokenizerFast")
    result = vocabopt("eval", folder, "--tokenizer", lossy, "--text", f"ko={CORPUS / 'ko'}", "--limit", 500)
    assert result.exit_code == 0, result.output
    assert re.search(r"\nko: \d+ tokens are unknown ones: that text is lost", result.stdout)
    assert "otherwise than" not in result.stdout


def test_a_tokenizer_that_transformers_builds_anew_is_told(folders: Path, folder: Path, tmp_path: Path) -> None:
    """Named a Llama tokenizer, it is given byte pieces again, whatever its tokenizer.json says."""
    other = without_bytes(folders, tmp_path / "other", tokenizer_class="LlamaTokenizer")
    given = ("--tokenizer", other, "--text", f"ko={CORPUS / 'ko'}", "--limit", 500)
    record = measured(folder, *given)
    assert record["texts"]["ko"]["n_unknown_tokens"] == 0
    assert record["n_lines_reloaded_otherwise"] > 0
    assert "other/tokenizer.json: it builds this kind of tokenizer anew" in vocabopt("eval", folder, *given).stdout


def test_memory_that_does_not_suffice_names_the_option(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CUDA raises; there is no device here to fill."""

    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainer.evaluate.score.TokenLosses", full)
    result = vocabopt("eval", folder, "--text", f"en={ENGLISH}", "--batch", 4)
    assert_refused(result, "--batch 4: 4 windows of 128 tokens do not fit .* Try a smaller --batch", tmp_path)


# --- Tasks without lm-eval -------------------------------------------------------------------------------------------


def copa(**changed: object) -> dict[str, object]:
    return {"premise": "가", "question": "원인", "alternative_1": "나", "alternative_2": "다", "label": 1, **changed}


def test_without_lm_eval_the_command_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "copa_test.jsonl", json.dumps(copa()))
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    result = vocabopt("eval", folder, "--tasks", "kobest_copa", "--tasks-data", tmp_path)
    assert_refused(result, r"--tasks needs lm-eval\. In a clone of vocabopt run .*'\.\[eval\]'", tmp_path)


def test_the_test_set_comes_before_the_validation_set_and_may_be_packed(tmp_path: Path) -> None:
    task = TASKS["kobest_copa"]
    written(tmp_path / "copa_validation.jsonl", json.dumps(copa(label=0)))
    assert [item.label for item in read_items(task, [tmp_path]).items] == [0]
    packed = gzip.compress("\n".join(json.dumps(copa()) for _ in range(3)).encode())
    written(tmp_path / "more" / "copa_test.jsonl.gz", packed)
    found = read_items(task, [tmp_path, tmp_path / "more"])
    assert [item.label for item in found.items] == [1, 1, 1]
    assert found.source == str(tmp_path / "more" / "copa_test.jsonl.gz")
    assert found.items[0].context == "가  왜냐하면"


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", r"copa_test.jsonl, line 2: is no JSON"),
        ("[1]", r"copa_test.jsonl, line 2: is no JSON object"),
        ("[" * 100_000, r"copa_test.jsonl, line 2: is no JSON \(maximum recursion depth"),
        (json.dumps({"premise": "가"}), "line 2: field 'question' is not text; kobest_copa needs premise, question"),
        (json.dumps(copa(label="1")), "line 2: field 'label' is not a whole number"),
        (json.dumps(copa(question="이유")), "line 2: kobest_copa does not know the value '이유'"),
        (json.dumps(copa(label=2)), "line 2: label 2 is none of 2 choices"),
        (json.dumps(copa(alternative_2="")), "line 2: .* is empty"),
    ],
)
def test_a_record_that_cannot_be_asked_is_named(line: str, match: str, tmp_path: Path) -> None:
    written(tmp_path / "copa_test.jsonl", f"{json.dumps(copa())}\n{line}\n")
    with pytest.raises(CorpusError, match=match):
        read_items(TASKS["kobest_copa"], [tmp_path])


def test_what_opens_a_choice_without_a_prompt_is_told_where_nothing_opens_documents(
    folders: Path, folder: Path, tmp_path: Path
) -> None:
    """Every begin and end token marks chat turns: lm-eval would take one without a word."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: the extra eval")
    pairs = {"sentence_good": "This is right.", "sentence_bad": "This are right."}
    written(tmp_path / "data" / "a.jsonl", json.dumps(pairs))
    value = json.loads((folders / "llama-like" / "tokenizer.json").read_text(encoding="utf-8"))
    taken = {"<s>": "<|im_start|>", "</s>": "<|im_end|>"}
    for token in value["added_tokens"]:
        token["content"] = taken.get(token["content"], token["content"])
    vocab = value["model"]["vocab"]
    value["model"]["vocab"] = {taken.get(piece, piece): index for piece, index in vocab.items()}
    value["post_processor"] = None
    written(tmp_path / "chat" / "tokenizer.json", json.dumps(value))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    written(tmp_path / "chat" / "tokenizer_config.json", json.dumps(config))
    given = ("eval", folder, "--tokenizer", tmp_path / "chat", "--tasks", "blimp", "--tasks-data", tmp_path)
    told = "blimp: choices without a prompt are opened by <|im_start|>, which marks chat turns, since nothing"
    for more in ((), ("--document-start", "none")):
        result = vocabopt(*given, *more)
        assert result.exit_code == 0, result.output
        assert told in " ".join(result.stdout.split())
    # Asked for, it opens documents, and is told as such.
    asked = vocabopt(*given, "--document-start", "<|im_start|>")
    assert "choices without a prompt" not in asked.stdout
    del config["bos_token"], config["eos_token"]
    written(tmp_path / "chat" / "tokenizer_config.json", json.dumps(config))
    assert_refused(vocabopt(*given), "--tasks blimp: its choices have no prompt, .* Name one", tmp_path)


def test_files_without_items_or_cut_short_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "copa_test.jsonl", "\n")
    with pytest.raises(CorpusError, match="holds no items of kobest_copa"):
        read_items(TASKS["kobest_copa"], [tmp_path])
    written(tmp_path / "wic_test.jsonl.gz", gzip.compress(b"{}" * 999)[:-9])
    with pytest.raises(CorpusError, match=r"wic_test.jsonl.gz: the compressed file ended early"):
        read_items(TASKS["kobest_wic"], [tmp_path])


def archive_of_one_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/a.jsonl", "{}" * 999)
    return file.getvalue()


def locked(archive: bytes) -> bytes:
    """Bit 0 of the flags, in the head of the file and in the directory, says that there is a password."""
    data = bytearray(archive)
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def damaged(archive: bytes) -> bytes:
    start = archive.index(b"data/a.jsonl") + len(b"data/a.jsonl")
    return archive[:start] + b"\xff" * 4 + archive[start + 4 :]


@pytest.mark.parametrize(
    "data", [b"PK", locked(archive_of_one_file()), damaged(archive_of_one_file())], ids=["cut", "locked", "damaged"]
)
def test_an_archive_that_cannot_be_read_is_refused(data: bytes, tmp_path: Path) -> None:
    written(tmp_path / "BLiMP.zip", data)
    with pytest.raises(CorpusError, match=r"BLiMP.zip: cannot be read .*Fetch it again"):
        read_items(TASKS["blimp"], [tmp_path])


def test_piqa_takes_its_labels_from_their_own_file(tmp_path: Path) -> None:
    rows = [{"goal": f"goal {n}", "sol1": "this", "sol2": "that"} for n in range(2)]
    written(tmp_path / "valid.jsonl", "\n".join(json.dumps(row) for row in rows))
    with pytest.raises(OptionError, match=r"no valid-labels.lst, which piqa is read from"):
        read_items(TASKS["piqa"], [tmp_path])
    written(tmp_path / "valid-labels.lst", "1\n")
    with pytest.raises(CorpusError, match=r"valid-labels.lst: 1 labels for the 2 items"):
        read_items(TASKS["piqa"], [tmp_path])
    written(tmp_path / "valid-labels.lst", "1\n0\n")
    items = read_items(TASKS["piqa"], [tmp_path]).items
    assert [(item.context, item.choices[item.label]) for item in items] == [
        ("Question: goal 0\nAnswer:", "that"),
        ("Question: goal 1\nAnswer:", "this"),
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_blimp_comes_by_turns_from_its_archive_or_its_folder(packed: bool, tmp_path: Path) -> None:
    def pairs(name: str, n: int) -> str:
        return "\n".join(json.dumps({"sentence_good": f"{name}{i}", "sentence_bad": "bad"}) for i in range(n))

    files = {"data/b.jsonl": pairs("b", 1), "data/a.jsonl": pairs("a", 3), "data/notes.txt": "no items"}
    if packed:
        with zipfile.ZipFile(tmp_path / "BLiMP.zip", "w") as archive:
            for name, text in {**files, "__MACOSX/data/._a.jsonl": "shadow"}.items():
                archive.writestr(name, text)
    else:
        for name, text in files.items():
            written(tmp_path / name, text)
    items = read_items(TASKS["blimp"], [tmp_path]).items
    assert [item.choices[0] for item in items] == ["a0", "b0", "a1", "a2"]
    assert all(item.context == "" and item.label == 0 for item in items)


def test_macro_f1_by_hand() -> None:
    """Twice the right ones over those given and answered: 2/3 and 2/3; then 2/3, 2/4, and 0 for one never right."""
    assert macro_f1([(0, 0), (0, 1), (1, 1)]) == pytest.approx(2 / 3)
    assert macro_f1([(0, 0), (0, 1), (1, 1), (1, 2)]) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)


def test_options_are_checked_when_made() -> None:
    refused: tuple[tuple[Callable[[], EvalOptions], str], ...] = (
        (lambda: EvalOptions(model="m", texts={"a": "b"}, limit_bytes=0), "--limit 0"),
        (lambda: EvalOptions(model="m", tasks=("piqa",), tasks_data=(Path(),), tasks_limit=0), "--tasks-limit 0"),
        (lambda: EvalOptions(model="m", texts={"a": "b"}, encoding="klingon"), "--encoding klingon"),
    )
    for make, match in refused:
        with pytest.raises(VocaboptError, match=match):
            make()
