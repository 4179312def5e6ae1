"""From a name, file, folder or hub id to a base tokenizer."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from vocabopt.bases import known
from vocabopt.bases.base import Base, Original
from vocabopt.bases.families import recognise
from vocabopt.bases.patterns import PATTERNS_CUT_AT_SPACES
from vocabopt.bases.pipeline import added_token
from vocabopt.bases.ranks import byte_level_json, is_rank_file, parse_ranks
from vocabopt.bases.sentencepiece_model import (
    is_bpe,
    parse_any_model,
    parse_model,
    special_token_names,
    to_tokenizer_json,
)
from vocabopt.bases.tekken import is_tekken, parse_tekken
from vocabopt.errors import BaseTokenizerError, OptionError
from vocabopt.options import DEFAULT_BASE

#: Files of a Hugging Face folder that belong to the tokenizer and travel with a merged one.
COMPANION_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json")
#: More chat templates of one tokenizer, a file each.
TEMPLATE_FOLDER = "additional_chat_templates"
#: What a folder's tokenizer is read from, the first that is there; then any rank file named *.tiktoken.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json")


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What a file says: its tokenizer.json, the same in the publisher's own form, special tokens by their names."""

    tokenizer_json: dict[str, Any]
    original: Original | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    #: What the tokenizer depends on beside the file.
    also: Any = None


def load_base(value: str, *, pattern: str | None = None, specials: str | None = None) -> Base:
    """Load a base tokenizer.

    Args:
        value: `mistral-7b-v1` (built in), a Hugging Face folder, a tokenizer.json, a SentencePiece BPE .model, a
            tiktoken rank file, a Tekken .json, or a Hugging Face hub id (`organisation/name`).
        pattern: for a rank file whose name does not tell: its split pattern, by name or as a regular expression.
        specials: for such a file: its special tokens, by name, in a file (known.read_specials), or "none".

    Raises:
        BaseTokenizerError: not found, unreadable, or of a kind that cannot be grown exactly.
        OptionError: `pattern` or `specials` cannot be used, or the base is no rank file.
    """
    base = _load(value, pattern, specials)
    if (pattern or specials) and not any(original.kind == "tiktoken" for original in base.originals):
        option = "--pattern" if pattern else "--specials"
        raise OptionError(f"{option}: is for tiktoken rank files, and {value} is not one. Leave it out.")
    return base


def _load(value: str, pattern: str | None, specials: str | None) -> Base:
    path = Path(value)
    if value == DEFAULT_BASE:
        return _load_file(_builtin_mistral(), name=DEFAULT_BASE, source=DEFAULT_BASE)
    if value and path.is_dir():
        return _load_folder(path, path.resolve().name, str(path.resolve()), pattern, specials)
    if path.is_file():
        name = path.resolve().parent.name if path.name.startswith("tokenizer.") else path.stem
        return _load_file(path, name=name, source=str(path.resolve()), pattern=pattern, specials=specials)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", value) and not value.startswith((".", "/")):
        return _load_folder(_download(value), value.split("/")[-1], value, pattern, specials)
    raise BaseTokenizerError(
        f"{value}: no such base tokenizer. Pass {DEFAULT_BASE} (built in), a Hugging Face folder, a tokenizer.json, "
        "a SentencePiece .model, a tiktoken rank file, a Tekken .json, or a hub id (organisation/name)."
    )


def _builtin_mistral() -> Path:
    # The file of the package, found without importing it: mistral_common pulls in pydantic and takes half a second.
    spec = find_spec("mistral_common")
    if spec is None or not spec.submodule_search_locations:
        raise BaseTokenizerError(
            "mistral-7b-v1: the package mistral-common is not installed. pip install mistral-common"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "tokenizer.model.v1"
    if not path.is_file():
        raise BaseTokenizerError(f"{path}: missing from the package mistral-common. pip install -U mistral-common")
    return path


def _load_folder(folder: Path, name: str, source: str, pattern: str | None, specials: str | None) -> Base:
    ranks = sorted(folder.glob("*.tiktoken"))
    found = [*(folder / file for file in _TOKENIZER_FILES if (folder / file).is_file()), *ranks]
    if not found:
        raise BaseTokenizerError(
            f"{folder}: no tokenizer.json or tokenizer.model in this folder (nor tekken.json, *.tiktoken). Pass the "
            "folder of a Hugging Face tokenizer; one of vocab.json and merges.txt becomes one with "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        )
    templates = sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))
    companions = {file: (folder / file).read_bytes() for file in COMPANION_FILES if (folder / file).is_file()}
    companions |= {f"{TEMPLATE_FOLDER}/{template.name}": template.read_bytes() for template in templates}
    return _load_file(
        found[0],
        name=name,
        source=source,
        pattern=pattern,
        specials=specials,
        companions=companions,
        model_n_rows=_model_n_rows(folder / "config.json"),
        beside=found[1:] if found[0].name == "tokenizer.json" else [],
        more_added=_added_tokens(folder) if found[0].name == "tokenizer.model" else {},
    )


def _model_n_rows(config: Path) -> int | None:
    """Rows of the embedding table as the base's own config.json states them (padding included), if it is there."""
    try:
        value = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    n_rows = value.get("vocab_size") or value.get("text_config", {}).get("vocab_size")
    return n_rows if isinstance(n_rows, int) else None


def _added_tokens(folder: Path) -> dict[str, tuple[int, bool]]:
    """Tokens that a folder adds to its tokenizer.model: content -> id, whether special."""
    added: dict[str, tuple[int, bool]] = {}
    for name in ("added_tokens.json", "tokenizer_config.json"):
        try:
            value = json.loads((folder / name).read_text(encoding="utf-8"))
            if name == "added_tokens.json":
                added |= {content: (int(index), True) for content, index in value.items()}
            for index, token in value.get("added_tokens_decoder", {}).items():
                added[token["content"]] = int(index), bool(token.get("special", False))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BaseTokenizerError(f"{folder / name}: its added tokens cannot be read ({error}).") from error
    return added


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        patterns = [*_TOKENIZER_FILES, "*.tiktoken", "config.json", "added_tokens.json", *COMPANION_FILES]
        return Path(snapshot_download(hub_id, allow_patterns=[*patterns, f"{TEMPLATE_FOLDER}/*.jinja"]))
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise BaseTokenizerError(
            f"{hub_id}: not a local path, and not to be had from the Hugging Face hub ({type(error).__name__}). "
            "Check the id and the network, or pass a local folder."
        ) from error


def _load_file(
    path: Path,
    *,
    name: str,
    source: str,
    pattern: str | None = None,
    specials: str | None = None,
    companions: Mapping[str, bytes] | None = None,
    model_n_rows: int | None = None,
    beside: list[Path] | None = None,
    more_added: Mapping[str, tuple[int, bool]] | None = None,
) -> Base:
    """The base in the file at `path`; `beside` are files that may hold the same tokenizer in another form."""
    data = _read_bytes(path)
    content = _content_of(data, path, pattern, specials)
    for added, (index, special) in (more_added or {}).items():
        _add_token(content.tokenizer_json, added, index, special=special, path=path)
    family, prefix, unless_space = recognise(content.tokenizer_json, str(path))
    originals = [] if content.original is None else [content.original]
    for other in beside or []:
        original = _original_of(_read_bytes(other), other, content.tokenizer_json)
        originals += [] if original is None else [original]
    sha256 = hashlib.sha256(data)
    if content.also is not None:
        sha256.update(json.dumps(content.also, sort_keys=True).encode())
    return Base(
        name=name,
        family=family,
        source=source,
        sha256=sha256.hexdigest(),
        tokenizer_json=content.tokenizer_json,
        companions=companions or {},
        originals=tuple(originals),
        pattern=pattern,
        specials=str(Path(specials).resolve()) if specials and Path(specials).is_file() else specials,
        special_names=content.names,
        model_n_rows=model_n_rows,
        prefix=prefix,
        prefix_unless_space=unless_space,
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BaseTokenizerError(f"{path}: cannot be read ({error.strerror}).") from error


def _content_of(data: bytes, path: Path, pattern: str | None, specials: str | None) -> _Content:
    """What kind of file this is, its content says, not its name."""
    if data.lstrip()[:1] == b"{":
        value = _parse_json(data, path)
        if is_tekken(value):
            tekken = parse_tekken(value, str(path))
            original = Original(kind="tekken", file_name="tekken.json", data=data)
            return _Content(tokenizer_json=tekken.tokenizer_json(), original=original, names=tekken.names())
        return _Content(tokenizer_json=_parse_tokenizer_json(data, path))
    if is_rank_file(data):
        ranks = parse_ranks(data, str(path))
        family = known.complete(path, ranks, pattern, specials)
        tokenizer_json = byte_level_json(
            ranks,
            family.specials,
            pattern=family.pattern,
            normalizer=family.normalizer,
            bos=family.names.get("bos_token") if family.name.startswith("llama") else None,
        )
        if family.pattern not in PATTERNS_CUT_AT_SPACES:
            _check_readable(tokenizer_json, f"{path} with the pattern {family.pattern!r}")
        file_name = path.name if path.suffix == ".tiktoken" else "tokenizer.tiktoken"
        return _Content(
            tokenizer_json=tokenizer_json,
            original=Original(kind="tiktoken", file_name=file_name, data=data),
            names=family.names,
            also=[family.pattern, dict(family.specials), family.normalizer],
        )
    model = parse_model(data, str(path))
    original = Original(kind="sentencepiece", file_name="tokenizer.model", data=data)
    return _Content(tokenizer_json=to_tokenizer_json(model), original=original, names=special_token_names(model))


def _original_of(data: bytes, path: Path, tokenizer_json: Mapping[str, Any]) -> Original | None:
    """A file beside tokenizer.json, if it is one that a merged tokenizer is written in as well.

    A .model is, whatever its scores, where its pieces have the ids that tokenizer.json gives them.
    """
    if path.name == "tekken.json":
        return Original(kind="tekken", file_name=path.name, data=data)
    if is_rank_file(data):
        file_name = path.name if path.suffix == ".tiktoken" else "tokenizer.tiktoken"
        return Original(kind="tiktoken", file_name=file_name, data=data)
    try:
        model = parse_any_model(data, str(path))
    except BaseTokenizerError:
        # tokenizer.json is what counts; a file that is no model does not stand in its way.
        return None
    ids = tokenizer_json["model"]["vocab"]
    ids = {**ids, **{token["content"]: token["id"] for token in tokenizer_json.get("added_tokens", [])}}
    is_same = is_bpe(model) and all(ids.get(piece.piece) == index for index, piece in enumerate(model.pieces))
    return Original(kind="sentencepiece", file_name="tokenizer.model", data=data) if is_same else None


def _add_token(value: dict[str, Any], content: str, index: int, *, special: bool, path: Path) -> None:
    """Give tokenizer.json a token that the folder adds beside its tokenizer.model."""
    vocab = value["model"]["vocab"]
    taken = {i: piece for piece, i in vocab.items()}.get(index)
    if vocab.get(content, index) != index or (taken not in (None, content)):
        raise BaseTokenizerError(
            f"{path}: the folder adds {content!r} with the id {index}, which the model gives to {taken!r} "
            f"({content!r}: {vocab.get(content)}). Make the two agree, or pass the tokenizer.json of the same model."
        )
    vocab[content] = index
    if content not in {token["content"] for token in value["added_tokens"]}:
        value["added_tokens"].append(added_token(index, content, special=special))
        value["added_tokens"].sort(key=lambda token: token["id"])


def _parse_json(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise _unreadable(path, error) from error


def _parse_tokenizer_json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        # The library's own reader is the judge, and turns old string-form merges into pairs.
        value = json.loads(Tokenizer.from_str(data.decode()).to_str())
        stored = json.loads(data)["model"]["vocab"]
    except Exception as error:  # tokenizers raises bare Exception
        raise _unreadable(path, error) from error
    if isinstance(stored, dict) and len(set(stored.values())) != len(stored):
        index, n = Counter(stored.values()).most_common(1)[0]
        pieces = [piece for piece, i in stored.items() if i == index]
        raise BaseTokenizerError(
            f"{path}: {n} pieces have the id {index} ({', '.join(map(repr, pieces[:3]))}), and the tokenizers library "
            "keeps one of them by chance. Give each piece an id of its own."
        )
    assert isinstance(value, dict)
    return value


def _check_readable(value: dict[str, Any], place: str) -> None:
    try:
        Tokenizer.from_str(json.dumps(value))
    except Exception as error:  # tokenizers raises bare Exception
        raise BaseTokenizerError(
            f"{place}: makes no tokenizer that the tokenizers library can read ({error})."
        ) from error


def _unreadable(path: Path, error: Exception) -> BaseTokenizerError:
    return BaseTokenizerError(f"{path}: is not a tokenizer.json that the tokenizers library can read ({error}).")
