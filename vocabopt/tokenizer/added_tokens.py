"""Added tokens (special-token strings) in text: found as the `tokenizers` library finds them, and taken out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import PreTokenizer

from vocabopt.failures import cannot_encode, is_failure
from vocabopt.growth import chunk_kernel as kernel
from vocabopt.tokenizer.chunks import opening_of
from vocabopt.tokenizer.families import steps_of
from vocabopt.tokenizer.sentencepiece_model import SPACE_SYMBOL
from vocabopt.tokenizer.tokenizer import Tokenizer
from vocabopt.tokenizer.tokenizer_json import bpe_model, counting_tokenizer


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Documents, or the parts of them between added tokens, as the kernel cuts them.

    data: uint8. starts, ends: int64 [n]. openings: uint8 [n], how each starts (the kernel's constants). groups: int64
    [n], what each is counted for. n_added: added tokens taken out, int64, one a document that came in.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    openings: NDArray[np.uint8]
    groups: NDArray[np.int64]
    n_added: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_]) -> "Opened":
        """Those of them that are to be kept, bool [n]."""
        kept = {name: getattr(self, name)[keep] for name in ("starts", "ends", "openings", "groups")}
        return replace(self, **kept)

    def for_kernel(self) -> tuple[NDArray[Any], ...]:
        """As `chunk_kernel.count_block` takes them, group by group."""
        return self.data, self.starts, self.ends, self.openings, self.groups, np.argsort(self.groups, kind="stable")


class AddedTokens:
    """Finds the added tokens of tokenizer.json in text (special-token strings), as the library itself finds them.

    The library takes them out before it cuts text into words; a pre-tokenizer that only notes what it is given sees
    exactly the parts that are left, as the normaliser wrote them. Offsets play no part: post-processors trim them, and
    normalisers move them.

    needles: what a document must hold, in UTF-8, for an added token to be in it. normal_needles: the same, where the
    document is normalised first, by `normalizer`.
    """

    def __init__(self, base: Tokenizer) -> None:
        self._base = base
        tokens = [token for token in base.added_tokens if token["content"]]
        # DeepSeek's normaliser is a sequence of no steps.
        has_steps = bool(steps_of(base.tokenizer_json.get("normalizer"), "normalizers"))
        normalizer = base.full.normalizer if has_steps else None
        self.normalizer = None
        needles = [token["content"] for token in tokens if not token["normalized"]]
        normal = [token["content"] for token in tokens if token["normalized"]]
        if normalizer is not None:
            # The library normalises the token as well, and looks for that.
            normal = [normalizer.normalize_str(content) for content in normal]
        normal_needles: list[str] = []
        if base.family == "sentencepiece-bpe":
            # A literal ▁ is what this family writes for a space: a document that holds one is looked at in any case.
            needles.append(SPACE_SYMBOL)
            written = [content.replace(SPACE_SYMBOL, " ") for content in normal]
            # The first space may be the one that the normaliser puts before the text.
            needles += [content[1:] if _is_prepended(base) else content for content in written]
        elif normalizer is None:
            needles += normal
        elif normal:
            self.normalizer, normal_needles = normalizer, normal
        self.needles = [needle.encode() for needle in dict.fromkeys(needles)]
        self.normal_needles = [needle.encode() for needle in dict.fromkeys(normal_needles)]
        self._needle, self._normal_needle = _any_of(self.needles), _any_of(self.normal_needles)
        self._parts = _Parts()
        self._tokenizer = counting_tokenizer(
            base.tokenizer_json,
            pre_tokenizer=None,
            post_processor=None,
            # The model has nothing to do, but its vocabulary gives added tokens their ids.
            model=bpe_model({token["content"]: token["id"] for token in tokens}, []),
        )
        self._tokenizer.pre_tokenizer = PreTokenizer.custom(self._parts)

    @property
    def suspicious(self) -> NDArray[np.bool_]:
        """Two bytes that a document must hold for `may_be_in`, bool [65536] (`chunk_kernel.scan_documents`)."""
        pairs = np.zeros(1 << 16, bool)
        if self.normalizer is not None:
            # A Unicode normal form can bring out what the text as it stands does not show.
            pairs[:] = True
        for needle in self.needles:
            if len(needle) == 1:
                pairs[needle[0] << 8 : (needle[0] + 1) << 8] = True
            else:
                pairs[needle[0] << 8 | needle[1]] = True
        return pairs

    def may_be_in(self, document: bytes) -> bool:
        """Whether the document may hold an added token, or (SentencePiece family) a literal ▁."""
        if self._needle.search(document) is not None:
            return True
        if self.normalizer is None:
            return False
        if not document.isascii():
            document = self.normalizer.normalize_str(document.decode()).encode()
        return self._normal_needle.search(document) is not None

    def features(self, text: str) -> list[str]:
        """The added tokens of a text that holds some, each with what is next to it, as names."""
        self.split(text)
        found = self._parts.found
        features = []
        for i, (written, _, tokens) in enumerate(found):
            if tokens is not None:
                # An added token may have taken in white space (lstrip, rstrip).
                before, after = (found[k][0] if 0 <= k < len(found) else "" for k in (i - 1, i + 1))
                features.append(f"{tokens[0].id} {len(written)} {_neighbour(before[::-1])} {_neighbour(after)}")
        return features

    def split(self, text: str) -> tuple[list[tuple[str, int]], int]:
        """Take the added tokens out of a document.

        Returns:
            The parts of the document between them, as the normaliser writes them, each with how it starts (the
            kernel's opening constants), and the number of added tokens found. In the SentencePiece family a space
            stands for ▁.

        Raises:
            BaseTokenizerError: the library cannot encode the text.
        """
        try:
            self._tokenizer.encode(text, add_special_tokens=False)
        except BaseException as error:
            if not is_failure(error):
                raise
            raise cannot_encode(text, self._base.source, error) from error
        parts: list[tuple[str, int]] = []
        n_added = 0
        for part, (start, _), tokens in self._parts.found:
            if tokens is not None:
                n_added += len(tokens)
                continue
            written = part.replace(SPACE_SYMBOL, " ") if self._base.family == "sentencepiece-bpe" else part
            # What the normaliser puts first is there already.
            is_bare = _is_prepended(self._base)
            parts.append((written, kernel.BARE if is_bare else opening_of(self._base, is_first=start == 0)))
        return parts, n_added


def open_documents(
    added: AddedTokens,
    base: Tokenizer,
    data: bytes,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    suspects: NDArray[np.bool_],
    groups: NDArray[np.int64],
) -> Opened:
    """Documents data[starts[i]:ends[i]] with their added tokens taken out.

    Args:
        suspects: bool [n], which of them hold two bytes that are `suspicious`.
    """
    view, n_added = np.frombuffer(data, np.uint8), np.zeros(len(starts), np.int64)
    openings = np.full(len(starts), opening_of(base, is_first=True), np.uint8)
    odd = [i for i in np.flatnonzero(suspects) if added.may_be_in(data[starts[i] : ends[i]])]
    if not odd:
        return Opened(data=view, starts=starts, ends=ends, openings=openings, groups=groups, n_added=n_added)
    parts: list[tuple[bytes, int, int]] = []
    for document in odd:
        cut, n_added[document] = added.split(data[starts[document] : ends[document]].decode())
        parts += [(part.encode(), opening, int(groups[document])) for part, opening in cut]
    keep = np.ones(len(starts), bool)
    keep[odd] = False
    lengths = np.array([len(part) for part, _, _ in parts], np.int64)
    part_ends = len(data) + np.cumsum(lengths)
    return Opened(
        data=np.frombuffer(data + b"".join(part for part, _, _ in parts), np.uint8),
        starts=np.concatenate([starts[keep], part_ends - lengths]),
        ends=np.concatenate([ends[keep], part_ends]),
        openings=np.concatenate([openings[keep], np.array([opening for _, opening, _ in parts], np.uint8)]),
        groups=np.concatenate([groups[keep], np.array([group for _, _, group in parts], np.int64)]),
        n_added=n_added,
    )


def _any_of(needles: Iterable[bytes]) -> re.Pattern[bytes]:
    """Any of these strings: one search, since a base can have 6,000 of them."""
    return re.compile(b"|".join(map(re.escape, needles)) or rb"(?!)")


def _neighbour(text: str) -> str:
    """What is next to an added token: nothing, white space or something else."""
    return "none" if not text else "white" if text[0].isspace() else "other"


class _Parts:
    """A pre-tokenizer that splits nothing and notes the text it receives: (part, offsets, tokens) of the last text."""

    def __init__(self) -> None:
        self.found: list[tuple[str, tuple[int, int], list[Any] | None]] = []

    def pre_tokenize(self, text: Any) -> None:
        self.found = text.get_splits(offset_referential="original", offset_type="byte")


def _is_prepended(base: Tokenizer) -> bool:
    """Whether it is the normaliser that puts a space before text."""
    return base.prefix == "always" and not base.prefix_unless_space
