"""Runs in the environment of llama-cpp-python: write a GGUF file that holds a vocabulary only, load it, encode.

python run_llama.py VOCABULARY.json OUT.gguf TEXTS.json IDS.json
"""

import json
import sys
from pathlib import Path
from typing import Any

import gguf  # type: ignore[import-not-found]
import llama_cpp  # type: ignore[import-not-found]


def write(vocabulary: dict[str, Any], path: str) -> None:
    """A GGUF file as llama.cpp's converter writes it for this kind of tokenizer, without a model."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(vocabulary["model"])
    writer.add_tokenizer_pre(vocabulary["pre"])
    writer.add_token_list([token.encode() for token in vocabulary["tokens"]])
    writer.add_token_types(vocabulary["types"])
    if "scores" in vocabulary:
        writer.add_token_scores(vocabulary["scores"])
        writer.add_add_space_prefix(vocabulary["add_space_prefix"])
    if "merges" in vocabulary:
        writer.add_token_merges(vocabulary["merges"])
    for name, index in vocabulary["special_ids"].items():
        getattr(writer, f"add_{name}_token_id")(index)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main() -> None:
    vocabulary, path, texts, ids = sys.argv[1:]
    write(json.loads(Path(vocabulary).read_text(encoding="utf-8")), path)
    model = llama_cpp.Llama(model_path=path, vocab_only=True, verbose=False)
    encoded = [
        model.tokenize(text.encode(), add_bos=False, special=False)
        for text in json.loads(Path(texts).read_text(encoding="utf-8"))
    ]
    Path(ids).write_text(json.dumps(encoded), encoding="utf-8")


if __name__ == "__main__":
    main()
