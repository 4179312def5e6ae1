"""From a name, file, folder or hub id to a tokenizer.

One that cannot be grown is loaded too, where anything here can encode with it: its `refusal` says why it cannot.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vocabopt.errors import BASES, BaseTokenizerError, OptionError, first_of
from vocabopt.failures import hub_reason, refusal
from vocabopt.options import DEFAULT_BASE
from vocabopt.text.utf8 import json_value, read_utf8, without_mark
from vocabopt.tokenizer.encoders import Kind
from vocabopt.tokenizer.families import recognise, spelled
from vocabopt.tokenizer.gguf_file import is_gguf, load_gguf
from vocabopt.tokenizer.model_check import settled
from vocabopt.tokenizer.patterns import PATTERNS_CUT_AT_SPACES
from vocabopt.tokenizer.ranks import (
    byte_level_json,
    complete,
    is_rank_file,
    is_tekken,
    parse_ranks,
    parse_tekken,
)
from vocabopt.tokenizer.sentencepiece_model import (
    is_bpe,
    parse_any_model,
    parse_model,
    special_token_names,
    to_tokenizer_json,
)
from vocabopt.tokenizer.tokenizer import Form, Tokenizer
from vocabopt.tokenizer.tokenizer_json import (
    added_token,
    parse_json,
    parse_tokenizer_json,
    read_by_library,
    refuse_added_tokens,
    refuse_shared_ids,
)

#: A GGUF file that is not the first of a model in several.
_LATER_PART = re.compile(r"-(?!00001-)\d{5}-of-\d{5}\.gguf$")
#: What a folder's tokenizer is read from, the first that is there; then any rank file named *.tiktoken.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json")
#: Files of a Hugging Face folder that belong to the tokenizer and travel with a merged one.
COMPANION_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json")
#: More chat templates of one tokenizer, a file each.
TEMPLATE_FOLDER = "additional_chat_templates"


def load_base(value: str, *, pattern: str | None = None, specials: str | None = None) -> Tokenizer:
    """Load a tokenizer that is to be grown; arguments as `load_tokenizer` takes them.

    Raises:
        BaseTokenizerError: not found, unreadable, or of a kind that cannot be grown exactly.
        OptionError: `pattern` or `specials` cannot be used, or the base is no rank file.
    """
    base = load_tokenizer(value, pattern=pattern, specials=specials)
    if base.refusal is not None:
        raise BaseTokenizerError(base.refusal)
    if (pattern or specials) and base.written != "tiktoken":
        option = "--pattern" if pattern else "--specials"
        raise OptionError(f"{option}: is for tiktoken rank files, and {value} is not one. Leave it out.")
    return base


def load_tokenizer(value: str, *, pattern: str | None = None, specials: str | None = None) -> Tokenizer:
    """Load a tokenizer of any kind that can encode.

    Args:
        value: `mistral-7b-v1` (built in), a Hugging Face folder, a tokenizer.json, a SentencePiece BPE .model, a
            tiktoken rank file, a Tekken .json, a GGUF file, or a Hugging Face hub id (`organisation/name`).
        pattern: for a rank file whose name does not tell: its split pattern, by name or as a regular expression.
        specials: for such a file: its special tokens, by name, in a file (`ranks.read_specials`), or "none".

    Raises:
        BaseTokenizerError: not found, unreadable, or nothing here can encode with it.
        OptionError: `pattern` or `specials` cannot be used.
    """
    path = Path(value)
    load = functools.partial(_load_file, pattern=pattern, specials=specials)
    if value == DEFAULT_BASE:
        return replace(_builtin(), pattern=pattern, specials=specials)
    if path.is_file():
        name = path.resolve().parent.name if path.name.startswith("tokenizer.") else path.stem
        return load(path, name=name, source=str(path.resolve()))
    if value and path.is_dir():
        return load(_main_file(path), name=path.resolve().name, source=str(path.resolve()), folder=path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", value) and not value.startswith((".", "/")):
        folder = _download(value)
        return load(_main_file(folder), name=value.split("/")[-1], source=value, folder=folder)
    raise BaseTokenizerError(f"{value}: no such base tokenizer. Pass {BASES}.")


def tokenizer_of_json(text: str, source: str) -> Tokenizer:
    """The tokenizer of a tokenizer.json that no file holds, such as that which transformers has made.

    Args:
        text: as the `tokenizers` library writes it. source: what the tokenizer is, for messages.

    Raises:
        BaseTokenizerError: it is of no family that can be grown.
    """
    value = json.loads(text)
    refuse_added_tokens(value, Path(source))
    family, prefix, prefix_unless_space = recognise(value, source)
    return Tokenizer(
        name=source,
        source=source,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        written="tokenizer.json",
        tokenizer_json=value,
        family=family,
        prefix=prefix,
        prefix_unless_space=prefix_unless_space,
    )


# --- Where it is -----------------------------------------------------------------------------------------------------


@functools.cache
def _builtin() -> Tokenizer:
    """The built-in base, read once: a merge and a notebook load it several times.

    Whoever asks gets a copy (`replace`): what a Tokenizer works out when it encodes it keeps, and that grows with text.
    """
    path = _builtin_mistral()
    return _load_file(path, name=DEFAULT_BASE, source=DEFAULT_BASE, pattern=None, specials=None)


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


def files_with_tokenizer(folder: Path) -> list[Path]:
    """The files that hold a folder's tokenizer: it is read from the first; the others may hold it in another form."""
    named = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return named + sorted(folder.glob("*.tiktoken"))


def _main_file(folder: Path) -> Path:
    """The file that a folder's tokenizer is read from; a GGUF file where there is no other."""
    if found := files_with_tokenizer(folder):
        return found[0]
    files = sorted(folder.glob("*.gguf"))
    # Of a model in several files the first has the tokenizer.
    if len(first := [path for path in files if not _LATER_PART.search(path.name)]) > 1:
        raise BaseTokenizerError(f"{folder}: holds {first_of([path.name for path in first])}. Name one of these files.")
    if files:
        return (first or files)[0]
    raise BaseTokenizerError(
        f"{folder}: no tokenizer.json or tokenizer.model in this folder (nor tekken.json, *.tiktoken). Pass the "
        "folder of a Hugging Face tokenizer; one of vocab.json and merges.txt becomes one with "
        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
    )


def read_tokenizer_file(path: Path) -> bytes:
    """The bytes of a file without a byte order mark.

    Raises:
        BaseTokenizerError: it cannot be read.
    """
    try:
        return without_mark(path.read_bytes(), path)
    except OSError as error:
        raise BaseTokenizerError(refusal(error, path, what="cannot be read")) from error


# --- What it says ----------------------------------------------------------------------------------------------------


def _load_file(
    path: Path, *, name: str, source: str, pattern: str | None, specials: str | None, folder: Path | None = None
) -> Tokenizer:
    """The tokenizer in the file at `path`; the other files of `folder` may hold the same in another form."""
    try:
        # A whole model may be as large as the memory: of a GGUF the part that says its tokenizer is read.
        if is_gguf(path):
            return load_gguf(path, name=name, source=source, folder=folder)
    except OSError as error:
        raise BaseTokenizerError(refusal(error, path, what="cannot be read")) from error
    data = read_tokenizer_file(path)
    common: dict[str, Any] = {"name": name, "source": source, "folder": folder}
    others: list[Path] = []
    if folder is not None:
        templates = [f"{TEMPLATE_FOLDER}/{file.name}" for file in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))]
        names = [name for name in (*COMPANION_FILES, *templates) if (folder / name).is_file()]
        common["companions"] = {name: read_tokenizer_file(folder / name) for name in names}
        common["model_n_rows"] = _model_n_rows(folder / "config.json")
        others = [other for other in files_with_tokenizer(folder) if other != path]
    try:
        written, value, special_names, left_out = _content_of(data, path, name, pattern, specials)
        added = _added_tokens_of(folder) if folder is not None and path.name == "tokenizer.model" else {}
        for token in added.values():
            _give_token(value, token, path)
        refuse_added_tokens(value, path)
        family, prefix, prefix_unless_space = recognise(value, str(path))
        sha256 = hashlib.sha256(data)
        if left_out or added:
            sha256.update(json.dumps([left_out, added], sort_keys=True).encode())
        tokenizer = Tokenizer(
            **common,
            sha256=sha256.hexdigest(),
            written=written,
            tokenizer_json=value,
            files=_forms(path, data, written, others, value),
            special_names=special_names,
            pattern=pattern,
            specials=str(Path(specials).resolve()) if specials and Path(specials).is_file() else specials,
            family=family,
            prefix=prefix,
            prefix_unless_space=prefix_unless_space,
        )
        if written == "tokenizer.model":
            tokenizer = settled(tokenizer, str(path))
    except BaseTokenizerError as refused:
        written, value = _what_encodes(data, path, refused)
        tokenizer = Tokenizer(
            **common,
            sha256=hashlib.sha256(data).hexdigest(),
            written=written,
            tokenizer_json=value,
            encodes_as_json=written == "tokenizer.json",
            files=_forms(path, data, written, others, None),
            refusal=str(refused),
        )
    return tokenizer


def _content_of(
    data: bytes, path: Path, name: str, pattern: str | None, specials: str | None
) -> tuple[Kind, dict[str, Any], Mapping[str, str], Any]:
    """What a file says, by its content and not by its name: its form, its tokenizer.json, special tokens by their
    names, and what a rank file leaves out."""
    if data.startswith(b"#version"):
        raise _half(path, "a list of merges")
    if data.lstrip()[:1] == b"{":
        value = parse_json(data, path)
        if is_tekken(value):
            tekken = parse_tekken(value, str(path))
            return "tekken.json", tekken.tokenizer_json(), tekken.names(), None
        if isinstance(value, dict) and value and all(type(index) is int for index in value.values()):
            raise _half(path, "a list of pieces with their ids")
        return "tokenizer.json", parse_tokenizer_json(data, value, path), {}, None
    if is_rank_file(data):
        ranks = parse_ranks(data, str(path))
        family = complete(path, ranks, pattern, specials, name=name)
        bos = family.names.get("bos_token") if family.begins_with_bos else None
        normalizer, regex = family.normalizer, family.pattern
        value = byte_level_json(ranks, family.specials, pattern=regex, normalizer=normalizer, bos=bos)
        if regex not in PATTERNS_CUT_AT_SPACES:
            try:
                read_by_library(json.dumps(value))
            except ValueError as error:
                raise BaseTokenizerError(
                    f"{path} with the pattern {regex!r}: makes no tokenizer that the tokenizers library can read "
                    f"({error})."
                ) from error
        left_out = [regex, dict(family.specials), normalizer, family.begins_with_bos]
        return "tiktoken", value, family.names, left_out
    model = parse_model(data, str(path))
    return "tokenizer.model", to_tokenizer_json(model), special_token_names(model), None


def _half(path: Path, what: str) -> BaseTokenizerError:
    return BaseTokenizerError(
        f"{path}: is {what}, which is one half of a tokenizer. Put vocab.json and merges.txt into a folder and make "
        "them a tokenizer.json: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
    )


def _what_encodes(data: bytes, path: Path, refused: BaseTokenizerError) -> tuple[Kind, dict[str, Any]]:
    """The form of a file that cannot be grown and still can encode, and its vocabulary as a tokenizer.json.

    Raises:
        BaseTokenizerError: it cannot encode: `refused`; or two of its pieces have one id.
    """
    if is_rank_file(data):
        raise refused
    if data.lstrip()[:1] != b"{":
        try:
            return "tokenizer.model", to_tokenizer_json(parse_any_model(data, str(path)))
        except BaseTokenizerError:
            raise refused from None
    try:
        value: dict[str, Any] = json.loads(read_by_library(data.decode()).to_str())
    except ValueError:
        raise refused from None
    refuse_shared_ids(json.loads(data)["model"]["vocab"], path)
    return "tokenizer.json", value


# --- Other files of a folder ------------------------------------------------------------------------------------------


def _model_n_rows(config: Path) -> int | None:
    """Rows of the embedding table as the model's own config.json states them (padding included), if it is there."""
    try:
        value = json_value(read_utf8(config))
    except (OSError, ValueError):
        return None
    parts = (value, value.get("text_config")) if isinstance(value, dict) else ()
    n_rows = next((part["vocab_size"] for part in parts if isinstance(part, dict) and part.get("vocab_size")), None)
    return n_rows if isinstance(n_rows, int) else None


def _added_tokens_of(folder: Path) -> dict[str, dict[str, Any]]:
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


def _give_token(value: dict[str, Any], token: dict[str, Any], path: Path) -> None:
    """Give tokenizer.json a token that the folder adds to its tokenizer.model."""
    vocab, content, index = value["model"]["vocab"], token["content"], token["id"]
    taken = next((piece for piece, i in vocab.items() if i == index), None)
    if vocab.get(content, index) != index or (taken not in (None, content)):
        raise BaseTokenizerError(
            f"{path}: the folder adds {content!r} with the id {index}, which the model gives to {taken!r} "
            f"({content!r}: {vocab.get(content)}). Make the two agree, or pass the tokenizer.json of the same model."
        )
    vocab[content] = index
    others = [other for other in value["added_tokens"] if other["content"] != content]
    value["added_tokens"] = sorted([*others, token], key=lambda other: int(other["id"]))


def _forms(
    path: Path, data: bytes, written: Kind, others: Sequence[Path], tokenizer_json: Mapping[str, Any] | None
) -> tuple[Form, ...]:
    """The publisher's forms: the file read, if it is one, then the other files that are.

    tokenizer.json is what counts: another file that says otherwise, or nothing, does not stand in its way.

    Args:
        tokenizer_json: what the other forms must agree with to be written again; None where none is.
    """
    found: list[tuple[Path, Kind, bytes, bool]] = []
    if written != "tokenizer.json":
        found.append((path, written, data, tokenizer_json is not None))
    for other in others:
        content = read_tokenizer_file(other)
        kind: Kind = "tiktoken" if is_rank_file(content) else "tokenizer.model"
        if other.name == "tekken.json":
            kind = "tekken.json"
        elif kind == "tokenizer.model":
            try:
                parse_any_model(content, str(other))
            except BaseTokenizerError:
                continue
        is_judged = written == "tokenizer.json" and tokenizer_json is not None
        found.append((other, kind, content, is_judged and _has_ids(kind, content, other, tokenizer_json or {})))
    # What a form is called in the folder of a merged tokenizer.
    ranks = {file: file.name if file.suffix == ".tiktoken" else "tokenizer.tiktoken" for file, *_ in found}
    return tuple(
        Form(kind=kind, file_name=ranks[file] if kind == "tiktoken" else kind, data=content, has_same_ids=has_same_ids)
        for file, kind, content, has_same_ids in found
    )


def _has_ids(kind: Kind, data: bytes, path: Path, tokenizer_json: Mapping[str, Any]) -> bool:
    """Whether all tokens of a publisher's file have the ids of tokenizer.json; of a .model whatever its scores."""
    ids: dict[str, int] = {}
    try:
        if kind == "tekken.json":
            tekken = parse_tekken(parse_json(data, path), str(path))
            n_special = len(tekken.specials)
            ids = {spelled(token): n_special + rank for token, rank in tekken.ranks.items()} | dict(tekken.specials)
        elif kind == "tiktoken":
            ids = {spelled(token): rank for token, rank in parse_ranks(data, str(path)).items()}
        elif is_bpe(model := parse_any_model(data, str(path))):
            ids = {piece.piece: index for index, piece in enumerate(model.pieces)}
    except BaseTokenizerError:
        return False
    known = {token["content"]: token["id"] for token in tokenizer_json.get("added_tokens", [])}
    known |= tokenizer_json["model"]["vocab"]
    for piece, index in ids.items():
        # Some published tokenizer.json files name a byte piece by its ASCII character (Gemma 1: a tab).
        itself = chr(int(piece[3:5], 16)) if re.fullmatch("<0x[0-7][0-9A-F]>", piece) else piece
        if index not in (known.get(piece), known.get(itself)):
            return False
    return bool(ids)
