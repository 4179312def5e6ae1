"""From a name, file, folder or hub id to a base tokenizer."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vocabopt.errors import BASES, BaseTokenizerError, OptionError
from vocabopt.failures import hub_reason, refusal
from vocabopt.options import DEFAULT_BASE
from vocabopt.text.utf8 import json_value, read_utf8, without_mark
from vocabopt.tokenizer import known
from vocabopt.tokenizer.base import Base, Original
from vocabopt.tokenizer.families import recognise
from vocabopt.tokenizer.folders import (
    TOKENIZER_FILES,
    added_tokens_of,
    files_with_tokenizer,
    give_token,
    original_beside,
    rank_file_name,
)
from vocabopt.tokenizer.json_files import (
    check_readable,
    parse_json,
    parse_tokenizer_json,
    refuse_tokens_that_look_alike,
    refuse_words_that_are_tokens,
)
from vocabopt.tokenizer.model_check import check_model
from vocabopt.tokenizer.patterns import PATTERNS_CUT_AT_SPACES
from vocabopt.tokenizer.ranks import byte_level_json, is_rank_file, parse_ranks
from vocabopt.tokenizer.sentencepiece_model import (
    parse_model,
    special_token_names,
    to_tokenizer_json,
)
from vocabopt.tokenizer.tekken import is_tekken, parse_tekken

#: Files of a Hugging Face folder that belong to the tokenizer and travel with a merged one.
COMPANION_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json")
#: The first bytes of a GGUF file.
_GGUF = b"GGUF"
#: More chat templates of one tokenizer, a file each.
TEMPLATE_FOLDER = "additional_chat_templates"


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What a file says: its tokenizer.json, the same in the publisher's own form, special tokens by their names."""

    tokenizer_json: dict[str, Any]
    original: Original | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    #: What a rank file leaves out; None for all other files.
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
    if (pattern or specials) and not base.is_from_ranks:
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
    raise BaseTokenizerError(f"{value}: no such base tokenizer. Pass {BASES}.")


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
    found = files_with_tokenizer(folder)
    if not found and (gguf := sorted(folder.glob("*.gguf"))):
        found = gguf[:1]  # refused with a reason of its own
    if not found:
        raise BaseTokenizerError(
            f"{folder}: no tokenizer.json or tokenizer.model in this folder (nor tekken.json, *.tiktoken). Pass the "
            "folder of a Hugging Face tokenizer; one of vocab.json and merges.txt becomes one with "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        )
    templates = sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))
    companions = {file: read_tokenizer_file(folder / file) for file in COMPANION_FILES if (folder / file).is_file()}
    companions |= {f"{TEMPLATE_FOLDER}/{template.name}": read_tokenizer_file(template) for template in templates}
    return _load_file(
        found[0],
        name=name,
        source=source,
        pattern=pattern,
        specials=specials,
        companions=companions,
        model_n_rows=_model_n_rows(folder / "config.json"),
        model_config=folder.resolve() / "config.json" if (folder / "config.json").is_file() else None,
        beside=found[1:] if found[0].name == "tokenizer.json" else [],
        more_added=added_tokens_of(folder) if found[0].name == "tokenizer.model" else {},
    )


def _model_n_rows(config: Path) -> int | None:
    """Rows of the embedding table as the base's own config.json states them (padding included), if it is there."""
    try:
        value = json_value(read_utf8(config))
    except (OSError, ValueError):
        return None
    parts = (value, value.get("text_config")) if isinstance(value, dict) else ()
    n_rows = next((part["vocab_size"] for part in parts if isinstance(part, dict) and part.get("vocab_size")), None)
    return n_rows if isinstance(n_rows, int) else None


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        patterns = [*TOKENIZER_FILES, "*.tiktoken", "config.json", "added_tokens.json", *COMPANION_FILES]
        return Path(snapshot_download(hub_id, allow_patterns=[*patterns, f"{TEMPLATE_FOLDER}/*.jinja"]))
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise BaseTokenizerError(
            f"{hub_id}: not a local path, and not to be had from the Hugging Face hub: {hub_reason(error)} "
            "Or pass a local folder."
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
    model_config: Path | None = None,
    beside: list[Path] | None = None,
    more_added: Mapping[str, dict[str, Any]] | None = None,
) -> Base:
    """The base in the file at `path`; `beside` are files that may hold the same tokenizer in another form."""
    data = read_tokenizer_file(path)
    content = _content_of(data, path, name, pattern, specials)
    for added in (more_added or {}).values():
        give_token(content.tokenizer_json, added, path)
    refuse_words_that_are_tokens(content.tokenizer_json, path)
    refuse_tokens_that_look_alike(content.tokenizer_json, path)
    family, prefix, unless_space = recognise(content.tokenizer_json, str(path))
    originals = [] if content.original is None else [content.original]
    for other in beside or []:
        original = original_beside(read_tokenizer_file(other), other, content.tokenizer_json)
        originals += [] if original is None else [original]
    sha256 = hashlib.sha256(data)
    is_from_model = content.original is not None and content.original.kind == "sentencepiece"
    if content.also or more_added:
        sha256.update(json.dumps([content.also, more_added], sort_keys=True).encode())
    base = Base(
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
        is_from_ranks=content.also is not None,
        is_from_model=is_from_model,
        model_n_rows=model_n_rows,
        model_config=model_config,
        prefix=prefix,
        prefix_unless_space=unless_space,
    )
    if is_from_model:
        check_model(base, str(path))
    return base


def read_tokenizer_file(path: Path) -> bytes:
    """The bytes of a file without a byte order mark.

    Raises:
        BaseTokenizerError: it cannot be read, or is a GGUF file.
    """
    try:
        with path.open("rb") as file:
            # A whole model may be as large as the memory: its first bytes say enough.
            if (begin := file.read(4)) == _GGUF:
                raise BaseTokenizerError(
                    f"{path}: is a GGUF file. It holds a vocabulary but not the rules that split and normalise text, "
                    "so no tokenizer can be made of it exactly. Pass the folder or hub id of the model it was made "
                    "from, or its tokenizer.json or tokenizer.model."
                )
            return without_mark(begin + file.read(), path)
    except OSError as error:
        raise BaseTokenizerError(refusal(error, path, what="cannot be read")) from error


def _content_of(data: bytes, path: Path, name: str, pattern: str | None, specials: str | None) -> _Content:
    """What kind of file this is, its content says, not its name."""
    if data.startswith(b"#version"):
        raise _half(path, "a list of merges")
    if data.lstrip()[:1] == b"{":
        value = parse_json(data, path)
        if is_tekken(value):
            tekken = parse_tekken(value, str(path))
            original = Original(kind="tekken", file_name="tekken.json", data=data)
            return _Content(tokenizer_json=tekken.tokenizer_json(), original=original, names=tekken.names())
        if isinstance(value, dict) and value and all(type(index) is int for index in value.values()):
            raise _half(path, "a list of pieces with their ids")
        return _Content(tokenizer_json=parse_tokenizer_json(data, path))
    if is_rank_file(data):
        ranks = parse_ranks(data, str(path))
        family = known.complete(path, ranks, pattern, specials, name=name)
        tokenizer_json = byte_level_json(
            ranks,
            family.specials,
            pattern=family.pattern,
            normalizer=family.normalizer,
            bos=family.names.get("bos_token") if family.begins_with_bos else None,
        )
        if family.pattern not in PATTERNS_CUT_AT_SPACES:
            check_readable(tokenizer_json, f"{path} with the pattern {family.pattern!r}")
        return _Content(
            tokenizer_json=tokenizer_json,
            original=Original(kind="tiktoken", file_name=rank_file_name(path), data=data),
            names=family.names,
            also=[family.pattern, dict(family.specials), family.normalizer, family.begins_with_bos],
        )
    model = parse_model(data, str(path))
    original = Original(kind="sentencepiece", file_name="tokenizer.model", data=data)
    return _Content(tokenizer_json=to_tokenizer_json(model), original=original, names=special_token_names(model))


def _half(path: Path, what: str) -> BaseTokenizerError:
    return BaseTokenizerError(
        f"{path}: is {what}, which is one half of a tokenizer. Put vocab.json and merges.txt into a folder and make "
        "them a tokenizer.json: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
    )
