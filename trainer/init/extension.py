"""Which tokens of a merged tokenizer are new to a model: read from extension.json, or worked out from their bytes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.init.models import has_tokenizer, model_folder
from vocabopt.errors import ModelError
from vocabopt.merging.extension import EXTENSION_JSON, ExtensionRecord
from vocabopt.merging.extension import read_extension as read_record
from vocabopt.text.scripts import contains_target, find_target_scripts
from vocabopt.tokenizer import Tokenizer, load_tokenizer
from vocabopt.tokenizer.families import spelled
from vocabopt.tokenizer.sentencepiece_model import SPACE_SYMBOL

#: With fewer rows a median norm is chance: of 64 normal norms its standard error is a sixth of their deviation.
MIN_NORM_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Extension:
    """The new tokens of a tokenizer that extends a model's own, or has tokens of its own in the place of some.

    new_ids: wherever they lie: behind the base's last id, in a hole of it, or at ids of base tokens that a swap took
    out; the only home of which rows are new. base_ids: for each the base's own encoding of the token's bytes, without a
    dummy prefix. base_n_bytes: bytes of text of each of those. texts: the tokens' bytes. n_tokens: one more than the
    merged tokenizer's largest id. n_rows: rows wanted, padding included (merge's --pad-to); None for no wish.
    base_tokens: ids that are tokens of the base, those that a swap took out among them; rows of other ids below them
    are padding. base_text_bytes: bytes of text of each of them, 0 for special and byte tokens; () where unknown.
    scripts: the target's, () where there is none. script_ids: base tokens whose text holds a whole character of them.
    place: the tokenizer's folder, for messages. source: "extension.json", or "bytes" where it was worked out.
    """

    new_ids: tuple[int, ...]
    base_ids: tuple[tuple[int, ...], ...]
    base_n_bytes: tuple[tuple[int, ...], ...]
    texts: tuple[bytes, ...]
    n_tokens: int
    n_rows: int | None = None
    base_tokens: Sequence[int] = field(repr=False)
    base_text_bytes: Sequence[int] = field(default=(), repr=False)
    scripts: tuple[str, ...] = ()
    script_ids: tuple[int, ...] = field(default=(), repr=False)
    place: str
    source: str

    @property
    def n_base_tokens(self) -> int:
        """One more than the largest id of the base."""
        return self.base_tokens[-1] + 1

    @property
    def kept_tokens(self) -> Sequence[int]:
        """The tokens of the base whose rows stay."""
        new = frozenset(self.new_ids)
        return [index for index in self.base_tokens if index not in new]

    def norm_rows(self) -> tuple[tuple[int, ...], bool]:
        """Base ids whose median norm tells how long a row of the target's text is, and whether they are of its script.

        The base's tokens of the target script, where there are 64 of them. One Hangul token tells nothing (SmolLM2 has
        one): with fewer, all base ids that the new tokens are made of, which is what target text was spelled with.
        """
        if len(self.script_ids) >= MIN_NORM_ROWS:
            return self.script_ids, True
        return tuple(sorted({index for ids in self.base_ids for index in ids})), False

    def n_rows_of_table(self, n_rows: int) -> int:
        """Rows of a table of `n_rows` rows once the new tokens have theirs: it grows where it must, never shrinks."""
        return max(n_rows, self.n_tokens, self.n_rows or 0)

    def check(self, n_rows: int, model: str) -> None:
        """Refuse a model whose tables this tokenizer does not extend.

        Args:
            n_rows: of the model's table, padding included.
            model: what the model is called in messages.

        Raises:
            ModelError: the base has more tokens than the table rows, or a token has no base ids, or ones outside of it.
        """
        if self.n_base_tokens > n_rows:
            raise ModelError(
                f"{self.place}: extends a base of {self.n_base_tokens:,} tokens; {model} has {n_rows:,} rows. Its "
                "tokenizer is another one: sweep with that model as --base, then merge."
            )
        known = frozenset(self.base_tokens)
        for index, replaced in zip(self.new_ids, self.base_ids, strict=True):
            if not replaced or not known.issuperset(replaced):
                raise ModelError(
                    f"{self.place}: its new token {index} replaces the base ids {list(replaced)}; they must be ids of "
                    f"the base's {self.n_base_tokens:,} tokens. Merge again, or remove extension.json to have them "
                    "worked out from the tokenizers."
                )


def read_extension(tokenizer: Path, model: str | Path) -> Extension:
    """What a merged tokenizer adds to the tokenizer of a model.

    Args:
        tokenizer: its folder; what `vocabopt merge` wrote, or any that keeps the ids of the model's own tokens.
        model: the model's folder or hub id. It need not hold a tokenizer where `tokenizer` has an extension.json.

    Raises:
        ModelError: it does not extend the model's tokenizer, or extension.json is not of this tokenizer.
        BaseTokenizerError: a tokenizer cannot be loaded.
        RunDirectoryError: extension.json is of another version, broken, or at odds with itself.
    """
    path = tokenizer / EXTENSION_JSON
    if not has_tokenizer(tokenizer):
        inner = tokenizer / "tokenizer"
        hint = (
            f"Its tokenizer is in {inner}." if has_tokenizer(inner) else "Name the folder that `vocabopt merge` wrote."
        )
        raise ModelError(f"--tokenizer {tokenizer}: holds no tokenizer. {hint}")
    folder = model_folder(model)
    record = read_record(tokenizer) if path.is_file() else None
    merged = load_tokenizer(str(tokenizer))
    own = None
    if has_tokenizer(folder):
        pattern, specials = (None, None) if record is None else (record.base.pattern, record.base.specials)
        own = load_tokenizer(str(folder), pattern=pattern, specials=specials)
    # Id -> the piece of the base that a swap took out there.
    taken_out = {} if record is None else {row.id: row.old_piece for row in record.reused}
    if own is not None:
        _check_kept(merged, own, taken_out, tokenizer, folder)
    rows: Sequence[int]
    if record is not None:
        _check_record(record, merged, own, path, folder)
        new_ids = [token.id for token in record.tokens]
        base_ids = [token.base_ids for token in record.tokens]
        texts = [bytes.fromhex(token.bytes) for token in record.tokens]
        rows = sorted(index for index in merged.spelling if index < record.first_id)
        n_rows, scripts = record.n_rows_padded if record.pad_to else None, record.scripts
    elif own is None:
        raise ModelError(
            f"{tokenizer}: has no {EXTENSION_JSON}, and {folder} no tokenizer to work out from what the new tokens "
            "replace. Put the model's own tokenizer beside its weights."
        )
    else:
        new_ids, base_ids, texts = _worked_out(merged, own, folder)
        rows = sorted(own.spelling)
        n_rows, scripts = None, None
    if scripts is None:
        scripts = find_target_scripts(Counter("".join(text.decode(errors="ignore") for text in texts)))
    without_hole = range(rows[0], rows[-1] + 1)
    base_tokens = without_hole if len(without_hole) == len(rows) else tuple(rows)
    # The base's texts are the merged tokenizer's, except of what a swap took out.
    texts_of = {**merged.texts, **{index: merged.text_of(piece) for index, piece in taken_out.items()}}
    base_texts = ((index, texts_of.get(index, b"").decode(errors="ignore")) for index in base_tokens)
    return Extension(
        new_ids=tuple(new_ids),
        base_ids=tuple(base_ids),
        # An id that is no token fails the check against the model's tables, which can name it.
        base_n_bytes=tuple(
            tuple(len(texts_of.get(i) or _text(merged, i)) if i in merged.spelling else 0 for i in ids)
            for ids in base_ids
        ),
        texts=tuple(texts),
        n_tokens=merged.n_tokens,
        n_rows=n_rows,
        base_tokens=base_tokens,
        base_text_bytes=[0 if index in merged.added else len(texts_of.get(index, b"")) for index in base_tokens],
        scripts=scripts,
        script_ids=tuple(index for index, text in base_texts if scripts and contains_target(text, scripts)),
        place=str(tokenizer),
        source="bytes" if record is None else EXTENSION_JSON,
    )


def _check_kept(merged: Tokenizer, own: Tokenizer, taken_out: Mapping[int, str], tokenizer: Path, folder: Path) -> None:
    """Refuse a tokenizer in which tokens of the model have other ids, or are gone that no swap took out."""
    changed = [
        (piece, index)
        for piece, index in own.vocab.items()
        if merged.vocab.get(piece) != index and taken_out.get(index) != piece
    ]
    if changed:
        shown = ", ".join(f"{piece!r} is {index} and becomes {merged.vocab.get(piece)}" for piece, index in changed[:3])
        raise ModelError(
            f"{tokenizer}: does not extend the tokenizer of {folder}: {len(changed):,} of its {len(own.vocab):,} "
            f"tokens have another id or none ({shown}). Sweep with `--base {folder}`, then merge."
        )


def _worked_out(
    merged: Tokenizer, own: Tokenizer, folder: Path
) -> tuple[list[int], list[tuple[int, ...]], list[bytes]]:
    """Ids, base ids and texts of every token that the model's own tokenizer lacks; that one's merges encode the texts.

    Raises:
        ModelError: it has no merges.
    """
    if own.by_merges is None:
        raise ModelError(
            f"{folder}: its tokenizer is no BPE, so what new tokens replace cannot be worked out from their bytes. "
            f"Merge with vocabopt, which writes {EXTENSION_JSON}."
        )
    new_ids = [index for index, piece in merged.spelling.items() if piece not in own.vocab]
    texts = [_text(merged, index) for index in new_ids]
    if own.is_byte_level:
        pieces = [spelled(text) for text in texts]
    else:
        pieces = [text.decode(errors="replace").replace(" ", SPACE_SYMBOL) for text in texts]
    return new_ids, [tuple(ids) for ids in own.by_merges.encode(pieces)], texts


def _check_record(record: ExtensionRecord, merged: Tokenizer, own: Tokenizer | None, path: Path, folder: Path) -> None:
    """Refuse an extension.json of another base or of another tokenizer than the one beside it."""
    first, end = record.first_id, record.n_tokens
    if own is not None and own.n_tokens != first:
        raise ModelError(
            f"{path}: field first_id: new ids begin at {first:,}; the tokenizer of {folder} has {own.n_tokens:,} "
            f"tokens. It was merged into another tokenizer: merge again with --base {folder}."
        )
    mixed = "Files of two merges are mixed: merge again into a folder of its own."
    if merged.n_tokens != end:
        raise ModelError(
            f"{path}: field n_tokens: says {end:,}; the tokenizer beside it has {merged.n_tokens:,}. {mixed}"
        )
    for token in record.tokens:
        if (spelled := merged.spelling.get(token.id)) != token.piece:
            raise ModelError(
                f"{path}: field tokens: {token.id} is {token.piece!r}; the tokenizer beside it says {spelled!r}. "
                f"{mixed}"
            )


def _text(side: Tokenizer, index: int) -> bytes:
    """The bytes of text that a token stands for: those of an added token are its content, of a byte piece its byte."""
    if index in side.texts:
        return side.texts[index]
    piece = side.spelling[index]
    is_byte = index not in side.added and piece.startswith("<0x")
    return bytes([int(piece[3:5], 16)]) if is_byte else piece.encode()
