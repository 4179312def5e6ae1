"""From a name, file, folder or hub id to one of the two tokenizers, also where `load_base` refuses it."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tokenizers import Tokenizer

from vocabopt.errors import BaseTokenizerError
from vocabopt.failures import is_failure
from vocabopt.options import DEFAULT_BASE
from vocabopt.text.utf8 import without_mark
from vocabopt.tokenizer import Base, load_base
from vocabopt.tokenizer.folders import files_with_tokenizer
from vocabopt.tokenizer.json_files import refuse_shared_ids
from vocabopt.tokenizer.load import COMPANION_FILES, TEMPLATE_FOLDER, read_tokenizer_file
from vocabopt.tokenizer.ranks import is_rank_file
from vocabopt.tokenizer.sentencepiece_model import parse_any_model, to_tokenizer_json
from vocabopt.verify.encoders import Kind
from vocabopt.verify.sides import Side

_KIND_OF_ORIGINAL: Mapping[str, Kind] = {
    "sentencepiece": "tokenizer.model",
    "tiktoken": "tiktoken",
    "tekken": "tekken.json",
}


def load_side(value: str, *, pattern: str | None = None, specials: str | None = None) -> Side:
    """Load a tokenizer of any kind that can encode: as `load_base` does, and those that it refuses.

    Args:
        pattern, specials: as in `load_base`; used where the tokenizer is read from a rank file.

    Raises:
        BaseTokenizerError: not found, unreadable, or nothing here can encode with it.
    """
    local = Path(value) if value != DEFAULT_BASE and value and Path(value).exists() else None
    refused: BaseTokenizerError | None = None
    base: Base | None = None
    try:
        base = _load(value, local, pattern, specials)
    except BaseTokenizerError as error:
        refused = error
    place = local if local is not None or value == DEFAULT_BASE else _downloaded(value)
    if place is not None:
        _refuse_shared_ids(place)
    folder = place if place is not None and place.is_dir() else None
    forms = {} if folder is None else _forms(folder)
    if base is not None:
        return Side(
            name=base.name,
            source=base.source,
            sha256=base.sha256,
            folder=folder,
            base=base,
            refusal=None,
            written=_written(base, folder),
            vocabulary_json=base.tokenizer_json,
            forms={_KIND_OF_ORIGINAL[original.kind]: original.data for original in base.originals} | forms,
            companions=base.companions,
        )
    assert refused is not None
    file = None if place is None else _main_file(place)
    if file is None:
        raise refused
    return _refused_side(file, folder, value, refused, forms)


def _refuse_shared_ids(place: Path) -> None:
    """Also of a tokenizer that cannot be grown for another reason."""
    file = _main_file(place)
    if file is None or file.suffix != ".json":
        return
    with suppress(OSError, ValueError, KeyError, TypeError):  # what is no tokenizer.json is refused elsewhere
        refuse_shared_ids(json.loads(file.read_bytes())["model"]["vocab"], file)


def _load(value: str, local: Path | None, pattern: str | None, specials: str | None) -> Base:
    """The base, with the options of rank files where it is one: of a hub id that is not known before."""
    if local is not None and _reads_ranks(local):
        return load_base(value, pattern=pattern, specials=specials)
    try:
        return load_base(value)
    except BaseTokenizerError:
        if local is not None or value == DEFAULT_BASE or not (pattern or specials):
            raise
        return load_base(value, pattern=pattern, specials=specials)


def _reads_ranks(place: Path) -> bool:
    """Is the tokenizer at `place` read from a rank file?"""
    file = _main_file(place)
    if file is None:
        return False
    with file.open("rb") as opened:
        return is_rank_file(without_mark(opened.read(200), file))


def _written(base: Base, folder: Path | None) -> Kind:
    """The form that the base's tokenizer.json comes from."""
    if folder is None:
        return _KIND_OF_ORIGINAL[base.originals[0].kind] if base.originals else "tokenizer.json"
    file = _main_file(folder)
    if file is None or file.name == "tokenizer.json":
        return "tokenizer.json"
    return _KIND_OF_ORIGINAL[base.originals[0].kind]


def _main_file(place: Path) -> Path | None:
    """The file that a folder's tokenizer is read from; a file itself."""
    if place.is_file():
        return place
    return next(iter(files_with_tokenizer(place)), None)


def _downloaded(hub_id: str) -> Path | None:
    """Where `load_base` put the files of a hub id."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except Exception:  # the hub's client raises a dozen unrelated kinds
        return None


def _forms(folder: Path) -> dict[Kind, bytes]:
    """The forms in a folder beside tokenizer.json, those that cannot be grown included."""
    forms: dict[Kind, bytes] = {}
    for path in files_with_tokenizer(folder):
        if path.name == "tokenizer.json":
            continue
        data = read_tokenizer_file(path)
        kind: Kind
        if path.name == "tekken.json":
            kind = "tekken.json"
        elif is_rank_file(data):
            kind = "tiktoken"
        else:
            kind = "tokenizer.model"
            try:
                parse_any_model(data, str(path))
            except BaseTokenizerError:
                continue
        forms.setdefault(kind, data)
    return forms


def _refused_side(
    file: Path, folder: Path | None, value: str, refused: BaseTokenizerError, forms: Mapping[Kind, bytes]
) -> Side:
    """A tokenizer that cannot be grown, and still can be compared."""
    data = read_tokenizer_file(file)
    written: Kind = "tokenizer.json"
    if data.lstrip()[:1] == b"{":
        try:
            vocabulary_json = json.loads(Tokenizer.from_str(data.decode()).to_str())
        except BaseException as error:  # tokenizers raises bare Exception, or panics
            if not is_failure(error):
                raise
            raise refused from None
    elif is_rank_file(data):
        raise refused
    else:
        try:
            model = parse_any_model(data, str(file))
        except BaseTokenizerError:
            raise refused from None
        vocabulary_json = to_tokenizer_json(model)
        written, forms = "tokenizer.model", {"tokenizer.model": data, **forms}
    names = () if folder is None else (*COMPANION_FILES, *_template_files(folder))
    return Side(
        name=folder.resolve().name if folder is not None else file.stem,
        source=str(Path(value).resolve()) if Path(value).exists() else value,
        sha256=hashlib.sha256(data).hexdigest(),
        folder=folder,
        base=None,
        refusal=str(refused),
        written=written,
        vocabulary_json=vocabulary_json,
        encodes_as_json=written == "tokenizer.json",
        forms=forms,
        companions={name: read_tokenizer_file(folder / name) for name in names if folder and (folder / name).is_file()},
    )


def _template_files(folder: Path) -> list[str]:
    return [f"{TEMPLATE_FOLDER}/{path.name}" for path in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))]
