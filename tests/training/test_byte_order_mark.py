"""A byte order mark before JSON, TOML and rank files, as editors of Windows write it, changes nothing."""

import base64
import codecs
import json
import shutil
from pathlib import Path

import pytest
from command_line import vocabopt, written

from trainer.evaluate.tasks import TASKS, read_items
from trainer.plan import read_plan
from vocabopt.folder import read_json
from vocabopt.model.spec import load_model_spec
from vocabopt.preparation.options import read_config
from vocabopt.tokenizer import load_base, load_tokenizer
from vocabopt.tokenizer.ranks import read_specials


def marked(path: Path) -> Path:
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    return path


@pytest.mark.parametrize("name", ["llama-like", "gpt2-like", "qwen2-like"])
def test_a_base_folder_whose_files_are_marked_is_the_same_base(folders: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(folders / name, tmp_path / name)
    plain = load_base(str(folder))
    names = [path for path in folder.iterdir() if path.suffix == ".json"]
    assert names
    for path in names:
        marked(path)
    base = load_base(str(folder))
    assert (base.sha256, base.tokenizer_json) == (plain.sha256, plain.tokenizer_json)
    assert base.companions == plain.companions
    assert load_tokenizer(str(folder)).sha256 == plain.sha256


def test_a_marked_rank_file_is_the_same_base(tmp_path: Path) -> None:
    lines = b"".join(base64.b64encode(bytes([i])) + b" %d\n" % i for i in range(256))
    path = written(tmp_path / "a.tiktoken", lines)
    plain = load_base(str(path), pattern="r50k_base", specials="none")
    marked(path)
    assert load_base(str(path), pattern="r50k_base", specials="none").sha256 == plain.sha256
    specials = marked(written(tmp_path / "specials.json", '{"<|end|>": 300}'))
    assert read_specials(specials, {b"a": 0}) == {"<|end|>": 300}


def test_marked_plans_configurations_and_results_are_read(tmp_path: Path) -> None:
    plan = written(tmp_path / "plan.toml", '[[stage]]\nname = "all"\nembeddings = "all"\nhead = "all"\nshare = 1\n')
    expected = read_plan(plan)
    assert read_plan(marked(plan)).stages == expected.stages
    steps = written(tmp_path / "prepare.toml", 'steps = ["repair", "exact"]\n')
    assert read_config(marked(steps)) == read_config(written(tmp_path / "plain.toml", 'steps = ["repair", "exact"]\n'))
    config = {"hidden_size": 8, "vocab_size": 300, "tie_word_embeddings": True, "model_type": "llama"}
    spec = load_model_spec(str(marked(written(tmp_path / "config.json", json.dumps(config)))))
    assert (spec.hidden_size, spec.n_rows, spec.tied_embeddings) == (8, 300, True)
    record = marked(written(tmp_path / "run.json", '{"format_version": 1}'))
    assert read_json(record, next_step="") == {"format_version": 1}


def test_marked_items_of_a_benchmark_are_read(tmp_path: Path) -> None:
    marked(written(tmp_path / "valid.jsonl", '{"goal": "a", "sol1": "b", "sol2": "c"}\n'))
    marked(written(tmp_path / "valid-labels.lst", "1\n"))
    (item,) = read_items(TASKS["piqa"], [tmp_path]).items
    assert item.label == 1


def test_a_mark_is_said_on_the_terminal_and_not_with_quiet(tmp_path: Path) -> None:
    for name in ("in/a.txt", "in/b.txt"):
        marked(written(tmp_path / name, "나는 학교에 갔다.\n" * 30))
    loud = vocabopt("sweep", tmp_path / "in", "--out", tmp_path / "loud")
    assert loud.exit_code == 0, loud.output
    assert loud.stderr.count("byte order mark") == 1
    quiet = vocabopt("sweep", tmp_path / "in", "--out", tmp_path / "quiet", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    first, second = (json.loads((tmp_path / out / "sweep.json").read_text("utf-8")) for out in ("loud", "quiet"))
    assert first["sets"] == second["sets"]
    assert first["sets"]["train"]["n_documents"] + first["sets"]["heldout"]["n_documents"] == 60
