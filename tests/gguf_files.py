"""Small GGUF files, as llama.cpp's converter writes the tokenizer of a Hugging Face folder; no model in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gguf import GGUFWriter

from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.sentencepiece_model import SPACE_SYMBOL, USER_DEFINED, read_model

#: Types of tokens.
NORMAL, CONTROL, USER, UNUSED = 1, 3, 4, 5


def write_gguf(path: Path, kind: str, tokens: Sequence[str], types: Sequence[int], **more: Any) -> Path:
    """Write one. more: other fields: pre, scores, merges, bos_token_id ... ; chat_template."""
    writer = GGUFWriter(path, "llama")
    writer.add_embedding_length(64)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(list(tokens))
    writer.add_token_types(list(types))
    add = {
        "pre": writer.add_tokenizer_pre,
        "scores": writer.add_token_scores,
        "merges": writer.add_token_merges,
        "bos_token_id": writer.add_bos_token_id,
        "eos_token_id": writer.add_eos_token_id,
        "unknown_token_id": writer.add_unk_token_id,
        "add_space_prefix": writer.add_add_space_prefix,
        "add_bos_token": writer.add_add_bos_token,
        "chat_template": writer.add_chat_template,
    }
    for name, value in more.items():
        if value is not None:
            add[name](value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def gguf_of_model(path: Path, data: bytes, *, n_rows: int = 0, **more: Any) -> Path:
    """The GGUF of a SentencePiece model; with n_rows padded to so many."""
    model = read_model(data)
    tokens = [
        piece.piece.replace(SPACE_SYMBOL, " ") if piece.type == USER_DEFINED else piece.piece for piece in model.pieces
    ]
    types, scores = [piece.type for piece in model.pieces], [piece.score for piece in model.pieces]
    padding = range(len(tokens), n_rows)
    fields = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0, **more}
    return write_gguf(
        path,
        "llama",
        [*tokens, *(f"[PAD{i}]" for i in padding)],
        [*types, *(UNUSED for _ in padding)],
        scores=[*scores, *(-10_000.0 for _ in padding)],
        **{"add_space_prefix": model.normalizer_spec.add_dummy_prefix, **fields},
    )


def gguf_of_json(path: Path, base: Tokenizer, pre: str | None, *, n_rows: int = 0, **more: Any) -> Path:
    """The GGUF of a byte-level tokenizer.json, its split pattern under the name `pre`."""
    rows = range(max(n_rows, base.n_tokens))
    added: Mapping[int, Mapping[str, Any]] = base.added
    types = [(CONTROL if added[i]["special"] else USER) if i in added else NORMAL for i in rows]
    types = [kind if i in base.spelling else UNUSED for i, kind in enumerate(types)]
    merges = [f"{left} {right}" for left, right in base.tokenizer_json["model"]["merges"]]
    tokens = [base.spelling.get(i, f"[PAD{i}]") for i in rows]
    return write_gguf(path, "gpt2", tokens, types, merges=merges, pre=pre, **more)
