"""One of the two tokenizers: its vocabulary, files and encoders, also where it is of a kind that cannot be grown."""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from vocabopt.bases import Base, load_base
from vocabopt.bases.families import byte_of_char
from vocabopt.bases.load import COMPANION_FILES, TEMPLATE_FOLDER
from vocabopt.bases.ranks import is_rank_file
from vocabopt.bases.sentencepiece_model import SPACE_SYMBOL, parse_any_model, to_tokenizer_json
from vocabopt.errors import BaseTokenizerError
from vocabopt.options import DEFAULT_BASE
from vocabopt.verify.encoders import Encoder, JsonEncoder, Kind, MissingLibrary, encoder_of

_KIND_OF_ORIGINAL: Mapping[str, Kind] = {
    "sentencepiece": "tokenizer.model",
    "tiktoken": "tiktoken",
    "tekken": "tekken.json",
}


@dataclass(frozen=True, kw_only=True)
class Side:
    """A tokenizer to be compared.

    folder: where it lies; None for a lone file or a built-in one. base: what `load_base` makes of it; None where it
    refuses. written: the form that tokenizer_json comes from. tokenizer_json: None where only sentencepiece can encode
    as the file says; `vocabulary_json` then still names its tokens. forms: the files of other forms, by kind.
    """

    name: str
    source: str
    sha256: str
    folder: Path | None
    base: Base | None
    refusal: str | None
    written: Kind
    vocabulary_json: Mapping[str, Any]
    encodes_as_json: bool = True
    forms: Mapping[Kind, bytes] = field(default_factory=dict)
    companions: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def tokenizer_json(self) -> Mapping[str, Any] | None:
        return self.vocabulary_json if self.encodes_as_json else None

    @functools.cached_property
    def full(self) -> Tokenizer | None:
        """The tokenizer as the `tokenizers` library has it."""
        if not self.encodes_as_json:
            return None
        return self.base.full if self.base is not None else Tokenizer.from_str(json.dumps(self.vocabulary_json))

    @functools.cached_property
    def encoders(self) -> Mapping[Kind, Encoder]:
        """What encodes, by form; forms whose library is missing are in `missing`."""
        return self._loaded[0]

    @functools.cached_property
    def missing(self) -> Mapping[Kind, str]:
        """Forms that cannot be used, and the package that would read them."""
        return self._loaded[1]

    @functools.cached_property
    def _loaded(self) -> tuple[dict[Kind, Encoder], dict[Kind, str]]:
        encoders: dict[Kind, Encoder] = {} if self.full is None else {"tokenizer.json": JsonEncoder(self.full)}
        missing: dict[Kind, str] = {}
        for kind, data in self.forms.items():
            try:
                encoders[kind] = encoder_of(kind, data, self.tokenizer_json)
            except MissingLibrary as error:
                missing[kind] = str(error)
        return encoders, missing

    @functools.cached_property
    def spelling(self) -> Mapping[int, str]:
        """Id -> piece as tokenizer.json spells it, added tokens included, in the order of ids."""
        if self.full is not None:
            vocab = self.full.get_vocab(with_added_tokens=True)
        else:
            vocab = self.vocabulary_json["model"]["vocab"]
        return dict(sorted((index, piece) for piece, index in vocab.items()))

    @functools.cached_property
    def n_tokens(self) -> int:
        """One more than the largest id."""
        return max(self.spelling, default=-1) + 1

    @functools.cached_property
    def added(self) -> Mapping[int, Mapping[str, Any]]:
        """Added tokens (special or not) by id, with their flags."""
        tokens = self.vocabulary_json.get("added_tokens", [])
        # The library numbers anew what the vocabulary lacks, so the ids are its own.
        ids = {piece: index for index, piece in self.spelling.items()}
        return {ids.get(token["content"], token["id"]): token for token in tokens}

    @functools.cached_property
    def is_byte_level(self) -> bool:
        parts = (self.vocabulary_json.get("pre_tokenizer"), self.vocabulary_json.get("decoder"))
        return any('"ByteLevel"' in json.dumps(part) for part in parts)

    @functools.cached_property
    def texts(self) -> Mapping[int, bytes]:
        """Id -> bytes of text that the piece stands for; not for added tokens, byte pieces and parts of words (##)."""
        model = self.vocabulary_json["model"]
        prefix = model.get("continuing_subword_prefix")
        return {
            index: self.text_of(piece)
            for index, piece in self.spelling.items()
            if index not in self.added
            and not (prefix and piece.startswith(prefix))
            and (self.is_byte_level or not re.fullmatch(r"<0x[0-9A-F]{2}>", piece))
        }

    def text_of(self, piece: str) -> bytes:
        """The bytes of text that a piece of the model stands for."""
        if not self.is_byte_level:
            return piece.replace(SPACE_SYMBOL, " ").encode()
        table = byte_of_char()
        return bytes(table[char] for char in piece) if table.keys() >= set(piece) else piece.encode()

    def show(self, ids: list[int]) -> str:
        """Ids as a reader can check them: each with its piece."""
        return " ".join(f"{index}:{self.spelling.get(index, '?')!r}" for index in ids)

    def as_record(self) -> dict[str, Any]:
        files = {kind: hashlib.sha256(data).hexdigest() for kind, data in self.forms.items()}
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "written": self.written,
            "forms": files,
            "n_tokens": self.n_tokens,
            "refusal": self.refusal,
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
        return is_rank_file(opened.read(200))


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
    names = ("tokenizer.json", "tokenizer.model", "tekken.json")
    found = [place / name for name in names if (place / name).is_file()] + sorted(place.glob("*.tiktoken"))
    return found[0] if found else None


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
    for path in (folder / "tokenizer.model", folder / "tekken.json", *sorted(folder.glob("*.tiktoken"))):
        if not path.is_file():
            continue
        data = path.read_bytes()
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
    data = file.read_bytes()
    written: Kind = "tokenizer.json"
    if data.lstrip()[:1] == b"{":
        try:
            vocabulary_json = json.loads(Tokenizer.from_str(data.decode()).to_str())
        except Exception:  # tokenizers raises bare Exception
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
        companions={name: (folder / name).read_bytes() for name in names if folder and (folder / name).is_file()},
    )


def _template_files(folder: Path) -> list[str]:
    return [f"{TEMPLATE_FOLDER}/{path.name}" for path in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))]
