"""What a folder holds beside the file that its tokenizer is read from: added tokens, the publisher's own form."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vocabopt.errors import BaseTokenizerError
from vocabopt.text.utf8 import json_value, read_utf8
from vocabopt.tokenizer.base import Original, OriginalKind
from vocabopt.tokenizer.json_files import parse_json
from vocabopt.tokenizer.pipeline import added_token
from vocabopt.tokenizer.ranks import is_rank_file, parse_ranks, spelled
from vocabopt.tokenizer.sentencepiece_model import is_bpe, parse_any_model
from vocabopt.tokenizer.tekken import parse_tekken

#: What a folder's tokenizer is read from, the first that is there; then any rank file named *.tiktoken.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json")


def files_with_tokenizer(folder: Path) -> list[Path]:
    """The files that hold a folder's tokenizer: it is read from the first; the others may hold it in another form."""
    named = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return named + sorted(folder.glob("*.tiktoken"))


def added_tokens_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Tokens that a folder adds to its tokenizer.model: content -> the entry of tokenizer.json, its flags included."""
    added: dict[str, dict[str, Any]] = {}
    for name in ("added_tokens.json", "tokenizer_config.json"):
        try:
            value = json_value(read_utf8(folder / name))
            if name == "added_tokens.json":
                added |= {content: added_token(int(i), content, special=True) for content, i in value.items()}
            for index, token in value.get("added_tokens_decoder", {}).items():
                plain = added_token(int(index), token["content"], special=False)
                added[token["content"]] = {**plain, **{key: token[key] for key in plain if key in token}}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BaseTokenizerError(f"{folder / name}: its added tokens cannot be read ({error}).") from error
    return added


def original_beside(data: bytes, path: Path, tokenizer_json: Mapping[str, Any]) -> Original | None:
    """A file beside tokenizer.json, if a merged tokenizer is to be written in its form as well.

    It is where all its tokens have the ids that tokenizer.json gives them (a .model whatever its scores).
    tokenizer.json is what counts: a file that says otherwise, or nothing, does not stand in its way.
    """
    try:
        kind, ids = _ids_of(data, path)
    except BaseTokenizerError:
        return None
    known = {token["content"]: token["id"] for token in tokenizer_json.get("added_tokens", [])}
    known |= tokenizer_json["model"]["vocab"]
    if not ids or any(known.get(piece) != index != known.get(_byte_itself(piece)) for piece, index in ids.items()):
        return None
    name = {"sentencepiece": "tokenizer.model", "tekken": "tekken.json"}.get(kind) or rank_file_name(path)
    return Original(kind=kind, file_name=name, data=data)


def _byte_itself(piece: str) -> str | None:
    """The ASCII character of a byte piece: some published tokenizer.json files name it so (Gemma 1: a tab)."""
    is_ascii = re.fullmatch("<0x[0-7][0-9A-F]>", piece)
    return chr(int(piece[3:5], 16)) if is_ascii else None


def _ids_of(data: bytes, path: Path) -> tuple[OriginalKind, dict[str, int]]:
    """The form of a publisher's file, and its pieces as tokenizer.json spells them with their ids."""
    if path.suffix == ".json":
        tekken = parse_tekken(parse_json(data, path), str(path))
        n_special = len(tekken.specials)
        return "tekken", {spelled(token): n_special + rank for token, rank in tekken.ranks.items()} | dict(
            tekken.specials
        )
    if is_rank_file(data):
        return "tiktoken", {spelled(token): rank for token, rank in parse_ranks(data, str(path)).items()}
    model = parse_any_model(data, str(path))
    pieces = {piece.piece: index for index, piece in enumerate(model.pieces)}
    return "sentencepiece", pieces if is_bpe(model) else {}


def rank_file_name(path: Path) -> str:
    return path.name if path.suffix == ".tiktoken" else "tokenizer.tiktoken"


def give_token(value: dict[str, Any], token: dict[str, Any], path: Path) -> None:
    """Give tokenizer.json a token that the folder adds beside its tokenizer.model."""
    vocab, content, index = value["model"]["vocab"], token["content"], token["id"]
    taken = {i: piece for piece, i in vocab.items()}.get(index)
    if vocab.get(content, index) != index or (taken not in (None, content)):
        raise BaseTokenizerError(
            f"{path}: the folder adds {content!r} with the id {index}, which the model gives to {taken!r} "
            f"({content!r}: {vocab.get(content)}). Make the two agree, or pass the tokenizer.json of the same model."
        )
    vocab[content] = index
    others = [other for other in value["added_tokens"] if other["content"] != content]
    value["added_tokens"] = sorted([*others, token], key=lambda other: int(other["id"]))
