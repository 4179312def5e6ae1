"""The forms of a tokenizer in which rows of the base stand for new pieces: as many rows as before.

Where the base is published in ranks (.tiktoken, tekken.json) the id of a piece is its rank, so a new piece at the id of
a freed one is merged at that rank, of whatever two tokens spell it. tokenizer.json then has the same order. Elsewhere
new merges come after all of the base's, as growing has them.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vocabopt.errors import PromiseError
from vocabopt.merging.extension import Addition, grown
from vocabopt.tokenizer import Form, Tokenizer
from vocabopt.tokenizer.families import spelled
from vocabopt.tokenizer.ranks import merges_of_ranks, parse_ranks, parse_tekken, rank_file
from vocabopt.tokenizer.sentencepiece_model import swapped_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

Merge = tuple[str, str]


def swapped(base: Tokenizer, curve: "pl.DataFrame", freed_ids: "Sequence[int]") -> Addition:
    """The first pieces of a growth curve at freed ids, as many of them: the smallest id has the first piece."""
    pieces = grown(base, curve, len(freed_ids))
    return Addition(**{**vars(pieces), "method": "swap", "reused": sorted(freed_ids)})


def rank_form(base: Tokenizer) -> Form | None:
    """The form in which the base is published in ranks; None where there is none."""
    return next((form for form in base.originals if form.kind != "tokenizer.model"), None)


def swapped_tokenizer_json(base: Tokenizer, addition: Addition) -> dict[str, Any]:
    """tokenizer.json of the base with the addition at the ids that it reuses."""
    model = base.tokenizer_json["model"]
    freed = {base.spelling[index] for index in addition.reused}
    vocab = {piece: index for piece, index in model["vocab"].items() if piece not in freed}
    # tokenizers numbers added tokens that the vocabulary lacks anew, after its last: so it is given them all.
    for token in base.added_tokens:
        vocab.setdefault(token["content"], token["id"])
    vocab |= dict(zip(addition.pieces, addition.reused, strict=True))
    kept = [(left, right) for left, right in model["merges"] if left + right not in freed]
    form = rank_form(base)
    merges = [*kept, *(addition.merges or ())] if form is None else _merges_by_rank(vocab, kept, form, addition)
    vocab = dict(sorted(vocab.items(), key=lambda item: item[1]))
    return {**base.tokenizer_json, "model": {**model, "vocab": vocab, "merges": [list(pair) for pair in merges]}}


def _merges_by_rank(vocab: Mapping[str, int], kept: list[Merge], form: Form, addition: Addition) -> list[Merge]:
    """The merges kept and every split in which a new piece is made or taken, by the id of what they make."""
    new = {*addition.pieces}
    ranks = swapped_ranks(form, addition)
    splits = [(spelled(left), spelled(right)) for left, right in merges_of_ranks(ranks)]
    known = {*kept}
    more = [pair for pair in splits if not new.isdisjoint((*pair, pair[0] + pair[1])) and pair not in known]
    # Stable: a piece's own merges stay in their order, before those that new pieces bring.
    return sorted([*kept, *more], key=lambda pair: vocab[pair[0] + pair[1]])


def swapped_ranks(form: Form, addition: Addition) -> dict[bytes, int]:
    """Token -> rank of a form in ranks, the new tokens at the ranks of the freed ones; by rank."""
    first_id, ranks = _ranks_of(form)
    of_rank = {rank: token for token, rank in ranks.items()}
    of_rank |= {index - first_id: text for index, text in zip(addition.reused, addition.texts, strict=True)}
    return {of_rank[rank]: rank for rank in sorted(of_rank)}


def _ranks_of(form: Form) -> tuple[int, Mapping[bytes, int]]:
    """The id of rank 0, and the ranks."""
    if form.kind == "tiktoken":
        return 0, parse_ranks(form.data, form.file_name)
    tekken = parse_tekken(json.loads(form.data), form.file_name)
    return len(tekken.specials), tekken.ranks


def swapped_original(form: Form, addition: Addition) -> bytes:
    """A publisher's own form of the base with the addition at the ids that it reuses."""
    if form.kind == "tokenizer.model":
        return swapped_model(form.data, dict(zip(addition.reused, addition.pieces, strict=True)))
    ranks = swapped_ranks(form, addition)
    if form.kind == "tiktoken":
        return rank_file(ranks)
    tekken = parse_tekken(json.loads(form.data), form.file_name)
    return tekken.with_tokens([*ranks], pattern=tekken.pattern)


def check_reused(base: Tokenizer, merged: Tokenizer, addition: Addition) -> None:
    """P2 of a swap, as the library has it once loaded: all other ids spell what they did, and there are as many.

    Raises:
        PromiseError: they do not.
    """
    expected = dict(base.full.get_vocab(with_added_tokens=True))
    for index, piece in zip(addition.reused, addition.pieces, strict=True):
        del expected[base.spelling[index]]
        expected[piece] = index
    after = merged.full.get_vocab(with_added_tokens=True)
    if expected != after:
        changed = sorted({*expected.items()} ^ {*after.items()}, key=lambda item: (item[1], item[0]))
        raise PromiseError(
            f"{base.name} with {addition.n_added:,} rows swapped: {len(changed):,} ids are not as they should be "
            f"({', '.join(map(repr, changed[:3]))}). Nothing was written; please report this with the base."
        )
