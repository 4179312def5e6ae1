r"""Where a base tokenizer provably treats text apart: documents -> chunks -> pre-tokens.

Chunks are what is counted. Both families are cut before a run of spaces that follows another character:

    sentencepiece-bpe   no piece holds a ▁ after another character (checked when the base is loaded), so no merge
                        crosses that place; where no piece holds a newline beside another character, newlines are
                        chunks of their own as well
    byte-level-bpe      where that character is not white space: the split patterns of bases/patterns.py never match
                        across it, since none of their alternatives takes a space after such a character, none
                        looks behind, and the end of the text satisfies (?!\S) as a space does

With an unknown split pattern the chunk is the whole document: slower, and just as exact. Chunks of the byte-level
family are then cut into pre-tokens by the base's own normaliser and pre-tokenizer, once per unique chunk.
"""

from typing import Any

from vocabopt import chunk_kernel as kernel
from vocabopt.bases import Base
from vocabopt.bases.families import steps_of
from vocabopt.bases.patterns import PATTERNS_CUT_AT_SPACES


def cut_at(base: Base) -> int:
    """Where documents may be cut into chunks for this base: one of the kernel's CUT_ constants.

    A change here, or in how chunks are cut or documents held out, raises run_directory.COUNTS_VERSION.
    """
    if base.family == "sentencepiece-bpe":
        pieces = base.pieces
        if any(b" " in piece.lstrip(b" ") for piece in pieces):
            return kernel.CUT_NOWHERE
        if any(b"\n" in piece for piece in pieces):
            return kernel.CUT_AT_SPACES
        return kernel.CUT_AT_SPACES_AND_NEWLINES
    if _splits_at_spaces(base.tokenizer_json["pre_tokenizer"]):
        return kernel.CUT_AT_SPACES_AFTER_TEXT
    return kernel.CUT_NOWHERE


def _splits_at_spaces(pre_tokenizer: dict[str, Any]) -> bool:
    """Whether the first splitting step is a known pattern: later steps only split further."""
    first = steps_of(pre_tokenizer, "pretokenizers")[0]
    if first["type"] == "ByteLevel":
        # GPT-2's own pattern, built into the step.
        return bool(first.get("use_regex", True))
    return (
        first["type"] == "Split"
        and first["pattern"].get("Regex") in PATTERNS_CUT_AT_SPACES
        and first["behavior"] == "Isolated"
        and not first.get("invert", False)
    )


def opening_of(base: Base, *, is_first: bool) -> int:
    """How a document, or a part of it after an added token, starts: one of the kernel's opening constants."""
    if base.prefix == "never" or (base.prefix == "first" and not is_first):
        return kernel.BARE
    return kernel.PREFIXED_UNLESS_SPACE if base.prefix_unless_space else kernel.PREFIXED


def split_added_tokens(base: Base, text: str) -> tuple[list[tuple[str, int]], int]:
    """Take out the added tokens of tokenizer.json (special-token strings) as the library itself does.

    An added token that is `normalized` is looked for after the normaliser ran, so what follows it is not normalised,
    and not given the normaliser's prefix, a second time.

    Returns:
        The parts of `text` between them, each with how it starts (the kernel's opening constants), and the number of
        added tokens found.
    """
    parts: list[tuple[str, int]] = []
    position, n_added, opening = 0, 0, opening_of(base, is_first=True)
    if base.normalized_ids and base.family == "byte-level-bpe" and base.full.normalizer is not None:
        # The library's offsets are wrong where its normaliser made an added token out of more characters.
        text = base.full.normalizer.normalize_str(text)
    encoding = base.full.encode(text, add_special_tokens=False)
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token not in base.added_ids:
            continue
        n_added += 1
        if start > position:
            parts.append((text[position:start], opening))
        position = end
        prefix_is_normalizers = base.prefix == "always" and not base.prefix_unless_space
        if prefix_is_normalizers and token in base.normalized_ids:
            opening = kernel.BARE
        else:
            opening = opening_of(base, is_first=False)
    if position < len(text):
        parts.append((text[position:], opening))
    return parts, n_added
