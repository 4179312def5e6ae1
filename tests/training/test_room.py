"""A disk that is too small is found before the work: of a stage, and of a whole run."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from command_line import assert_refused, vocabopt
from helpers import CORPUS
from stages import SETTINGS, tiny_llama, train

from trainer.plan import Stage
from trainer.stages.checkpoints import check_stage_room
from vocabopt.errors import RunDirectoryError

Usage = namedtuple("Usage", "total used free")
STAGE = Stage(name="odd", blocks="odd")


def set_free(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10 * n_bytes, 9 * n_bytes, n_bytes))


def test_what_a_stage_is_said_to_take_is_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six steps, saved at the second and fourth: two checkpoints and the model, but for headers and small files."""
    written: list[int] = []
    rmtree = shutil.rmtree

    def watched(path: Path, **options: bool) -> None:
        if Path(path) == tmp_path / "checkpoints":
            files = [file for file in tmp_path.rglob("*") if file.suffix == ".safetensors"]
            written.append(sum(file.stat().st_size for file in files))
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    train(tiny_llama(), STAGE, tmp_path)
    (n_bytes,) = written
    model = tiny_llama()
    trained = list(model.model.layers[0].parameters())
    set_free(monkeypatch, n_bytes)
    check_stage_room(model, trained, "odd", SETTINGS, 6, tmp_path)
    set_free(monkeypatch, n_bytes * 9 // 10)
    with pytest.raises(RunDirectoryError, match=r"stage 'odd', with its checkpoints and its model, takes 272\.6 kB\."):
        check_stage_room(model, trained, "odd", SETTINGS, 6, tmp_path)


def test_a_stage_without_room_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, 50_000)
    with pytest.raises(RunDirectoryError, match=r"the disk has 50\.0 kB free, and stage 'odd'.* go on with --resume"):
        train(tiny_llama(), STAGE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_that_are_there_count_as_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama()
    trained = list(model.model.layers[0].parameters())
    n_bytes = sum(parameter.nbytes for parameter in model.parameters())
    set_free(monkeypatch, n_bytes)
    with pytest.raises(RunDirectoryError):
        check_stage_room(model, trained, "odd", SETTINGS, 6, tmp_path)
    for step in (2, 4):
        folder = tmp_path / "checkpoints" / f"step-{step:08}"
        folder.mkdir(parents=True)
        of_each = 3 * sum(parameter.nbytes for parameter in trained) + 4 * len(trained)
        (folder / "trainable.safetensors").write_bytes(bytes(of_each))
    check_stage_room(model, trained, "odd", SETTINGS, 6, tmp_path)


def test_a_run_without_room_for_its_models_is_refused_before_it_measures(
    llama: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start and four stages; with --control four more, of the smaller table."""
    options = (
        "--text",
        f"ko={CORPUS / 'ko' / 'news.txt'}",
        "--context",
        32,
        "--batch",
        "1024tok",
        "--report-to",
        "none",
    )
    set_free(monkeypatch, 1000)
    for more, n_models in (((), 5), (("--control",), 9)):
        result = vocabopt(
            "adapt", llama, "--run", run_dir, *options, "--precision", "fp32", *more, "--out", tmp_path / "out"
        )
        assert_refused(
            result,
            rf"and the {n_models} whole models that are to be written \(--keep-stages last\) take",
            tmp_path / "out",
        )
        assert not (tmp_path / "out" / "stages" / "0-init").exists()
