"""llama.cpp through its Python binding, on a GGUF file with the vocabulary of a folder."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from installs import LLAMA, Say, llama_python, llama_source
from tokenizers_made import Form

from programs.llama_names import Names, names

_SCRIPT = Path(__file__).with_name("run_llama.py")
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5


class Llama:
    """llama-cpp-python."""

    name = "llama.cpp"
    version = LLAMA
    reads_special = False

    def prepare(self, cache: Path, say: Say) -> None:
        self.python = llama_python(cache, say)
        self.names = names(llama_source(cache, say))

    def reads(self, form: Form) -> bool:
        return True

    def encode(self, form: Form, texts: Sequence[str]) -> list[list[int]]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            vocabulary, texts_file = folder / "vocabulary.json", folder / "texts.json"
            vocabulary.write_text(json.dumps(vocabulary_of(form, self.names)), encoding="utf-8")
            texts_file.write_text(json.dumps(list(texts)), encoding="utf-8")
            files = (vocabulary, folder / "vocabulary.gguf", texts_file, folder / "ids.json")
            command = ["nice", str(self.python), str(_SCRIPT), *map(str, files)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{form.folder}: llama.cpp failed:\n{done.stderr[-2000:]}")
            ids: list[list[int]] = json.loads(files[-1].read_text(encoding="utf-8"))
            return ids


def vocabulary_of(form: Form, known: Names) -> dict[str, Any]:
    """What llama.cpp's converter takes out of such a folder."""
    return _byte_level(form, known) if form.is_byte_level else _sentencepiece(form)


def _sentencepiece(form: Form) -> dict[str, Any]:
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2
    model = messages.ModelProto()
    path = form.file(".model")
    assert path is not None
    model.ParseFromString(path.read_bytes())
    ids = {"bos": model.trainer_spec.bos_id, "eos": model.trainer_spec.eos_id, "unk": model.trainer_spec.unk_id}
    return {
        "model": "llama",
        "pre": "default",
        "tokens": [piece.piece for piece in model.pieces],
        "scores": [piece.score for piece in model.pieces],
        # GGUF numbers the types of pieces as sentencepiece does.
        "types": [piece.type for piece in model.pieces],
        "add_space_prefix": model.normalizer_spec.add_dummy_prefix,
        "special_ids": ids,
    }


def _byte_level(form: Form, known: Names) -> dict[str, Any]:
    value = form.tokenizer_json
    pieces = {index: piece for piece, index in value["model"]["vocab"].items()}
    added = {token["id"]: token for token in value["added_tokens"]}
    pieces |= {index: token["content"] for index, token in added.items()}
    ids = range(max(pieces) + 1)
    kinds = {index: _CONTROL if token["special"] else _USER_DEFINED for index, token in added.items()}
    return {
        "model": "gpt2",
        "pre": known.name_of(form.tokenizer) or "default",
        "tokens": [pieces.get(index, f"[PAD{index}]") for index in ids],
        "types": [kinds.get(index, _NORMAL if index in pieces else _UNUSED) for index in ids],
        "merges": [" ".join(merge) if isinstance(merge, list) else merge for merge in value["model"]["merges"]],
        "special_ids": {},
    }
