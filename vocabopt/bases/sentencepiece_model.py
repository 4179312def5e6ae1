"""SentencePiece BPE models: read the .model file and write the tokenizer.json that encodes exactly as it does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sentencepiece import sentencepiece_model_pb2 as sp_pb2

from vocabopt.bases.pipeline import added_token, bos_first, bpe_model, tokenizer_json
from vocabopt.errors import BaseTokenizerError

SPACE_SYMBOL = "▁"
_BPE = 2
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE, _UNUSED = 1, 2, 3, 4, 6, 5


def parse_model(data: bytes, place: str) -> Any:
    """Parse a SentencePiece model file into its protocol buffer message.

    Raises:
        BaseTokenizerError: not a SentencePiece model, or one whose encoder cannot be grown exactly.
    """
    model = parse_any_model(data, place)
    _refuse_unsupported(model, place)
    return model


def parse_any_model(data: bytes, place: str) -> Any:
    """Parse a SentencePiece model file of any kind.

    Raises:
        BaseTokenizerError: not a SentencePiece model, or one without pieces.
    """
    try:
        model = read_model(data)
    except Exception as error:  # protobuf's own DecodeError is private to its backend
        raise BaseTokenizerError(
            f"{place}: is not a SentencePiece model ({error}). Pass a SentencePiece BPE .model or a tokenizer.json."
        ) from error
    if not model.pieces:
        raise BaseTokenizerError(f"{place}: holds no pieces. Pass a SentencePiece BPE .model or a tokenizer.json.")
    return model


def read_model(data: bytes) -> Any:
    """The protocol buffer message of a SentencePiece model that is known to be one."""
    model = sp_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(data)
    return model


def _refuse_unsupported(model: Any, place: str) -> None:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    if trainer.model_type != _BPE:
        kind = {1: "unigram", 3: "word", 4: "char"}.get(trainer.model_type, "unknown")
        raise BaseTokenizerError(
            f"{place}: is a SentencePiece {kind} model. Only BPE can be grown by merges: a {kind} model has none, "
            "so adding a piece would change how old text is split."
        )
    if not trainer.byte_fallback:
        raise BaseTokenizerError(
            f"{place}: has no byte fallback, so text outside its alphabet becomes <unk> and cannot be counted or "
            "decoded. Pass a base with byte fallback (Mistral, Llama 2) or a byte-level one (GPT-2, Qwen, Llama 3)."
        )
    if normalizer.precompiled_charsmap or normalizer.remove_extra_whitespaces or not normalizer.escape_whitespaces:
        raise BaseTokenizerError(
            f"{place}: normalises text ({normalizer.name or 'custom'}; extra white space removed: "
            f"{normalizer.remove_extra_whitespaces}). Only identity normalisation is supported."
        )
    if unused := [piece.piece for piece in model.pieces if piece.type == _UNUSED]:
        raise BaseTokenizerError(
            f"{place}: {len(unused)} pieces are marked UNUSED ({unused[0]!r}, ...): sentencepiece builds them and "
            "takes them apart again, which merges cannot do. Remove them from the model."
        )
    if tied := _tied_pieces(model):
        raise BaseTokenizerError(
            f"{place}: {len(tied)} pieces share their score with another ({tied[0]!r}, ...): sentencepiece then merges "
            "the leftmost first, whichever piece it is, and tokenizer.json cannot. Give each its own score, added "
            "pieces below the lowest: -1e9 - 64 x (i + 1)."
        )
    if trainer.treat_whitespace_as_suffix:
        raise BaseTokenizerError(f"{place}: writes white space as a suffix of words, which is not supported.")


def _tied_pieces(model: Any) -> list[str]:
    """Pieces that a merge makes and whose score is not their own; runs of spaces may share theirs (`merges_of`)."""
    by_score: dict[float, list[str]] = {}
    for piece in model.pieces:
        if piece.type == _NORMAL and len(piece.piece) > 1 and piece.piece.strip(SPACE_SYMBOL):
            by_score.setdefault(piece.score, []).append(piece.piece)
    return [piece for pieces in by_score.values() if len(pieces) > 1 for piece in pieces]


def merges_of(model: Any) -> list[tuple[str, str]]:
    """All merges of a SentencePiece BPE model, in an order that makes tokenizer.json encode as sentencepiece does.

    SentencePiece merges the neighbours whose union has the best score, leftmost first. Every split of a piece into
    two pieces is therefore a merge, ranked by the piece's score. Equal scores (the white-space pieces of Llama 2
    and Mistral, all at -1e9) are merged leftmost first by sentencepiece; ranking them by the length of the left
    part, longest first, gives the same: a run of spaces grows from its left end.
    """
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == _NORMAL}
    ranked = []
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            left = piece[:cut]
            if left in scores and (right := piece[cut:]) in scores:
                ranked.append((-score, -cut, cut - len(piece), left, right))
    ranked.sort()
    return [(left, right) for *_, left, right in ranked]


def to_tokenizer_json(model: Any) -> dict[str, Any]:
    """The tokenizer.json of a SentencePiece BPE model with byte fallback: same ids on text without special tokens.

    Control, unknown and user-defined pieces become added tokens. The post-processor puts <s> first, as Llama's does.
    """
    vocab = {piece.piece: index for index, piece in enumerate(model.pieces)}
    special = [
        (index, piece) for index, piece in enumerate(model.pieces) if piece.type in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    ]
    unknown = next((piece.piece for _, piece in special if piece.type == _UNKNOWN), None)
    prefix = model.normalizer_spec.add_dummy_prefix
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    # protobuf gives the default, <s>, where the model does not name one.
    bos = model.trainer_spec.bos_piece if model.trainer_spec.bos_piece in vocab else None
    return tokenizer_json(
        bpe_model(vocab, merges_of(model), unk_token=unknown, fuse_unk=True, byte_fallback=True),
        [added_token(index, piece.piece, special=piece.type != _USER_DEFINED) for index, piece in special],
        normalizer={
            "type": "Sequence",
            "normalizers": [*([{"type": "Prepend", "prepend": SPACE_SYMBOL}] if prefix else []), replace],
        },
        pre_tokenizer=None,
        post_processor=bos_first(bos, vocab[bos]) if bos else None,
        decoder={
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE_SYMBOL}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
    )


def special_token_names(model: Any) -> dict[str, str]:
    """bos_token, eos_token, unk_token as tokenizer_config.json names them, where the model has them."""
    pieces = {piece.piece for piece in model.pieces}
    trainer = model.trainer_spec
    names = {"bos_token": trainer.bos_piece, "eos_token": trainer.eos_piece, "unk_token": trainer.unk_piece}
    return {name: piece for name, piece in names.items() if piece in pieces}


def is_bpe(model: Any) -> bool:
    """Is the model's encoder BPE?"""
    return bool(model.trainer_spec.model_type == _BPE)


def normal_pieces(model: Any) -> list[str]:
    """The pieces that text is made of, in the order of their ids; no control, unknown, byte or user-defined ones."""
    return [piece.piece for piece in model.pieces if piece.type == _NORMAL]


def extended_model(
    data: bytes,
    pieces: Sequence[str],
    *,
    first_id: int,
    added_tokens: Sequence[Mapping[str, Any]] = (),
    zero: bool = False,
) -> bytes:
    """A SentencePiece model with `pieces` after its own, the first with the id `first_id`.

    Ids between the model's last and `first_id` belong to `added_tokens` of a tokenizer.json: control pieces where they
    are special, user-defined ones where not; an id without a token is a control piece too, which text never gives.

    Args:
        zero: give all new pieces the score 0, as Chinese-LLaMA does (arXiv 2304.08177), which merges them before
            the base's own; otherwise they come after all of its pieces, each with a score of its own.
    """
    model = read_model(data)
    content = {token["id"]: token for token in added_tokens}
    for index in range(len(model.pieces), first_id):
        token = content.get(index, {"content": f"<unused_{index}>", "special": True})
        model.pieces.add(piece=token["content"], score=0.0, type=_CONTROL if token["special"] else _USER_DEFINED)
    lowest = min(piece.score for piece in model.pieces)
    scores = [0.0] * len(pieces) if zero else scores_below(lowest, len(pieces))
    for piece, score in zip(pieces, scores, strict=True):
        model.pieces.add(piece=piece, score=score, type=_NORMAL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return bytes(model.SerializeToString())


def scores_below(lowest: float, n: int) -> list[float]:
    """`n` falling scores below `lowest`, one apart or as near as float32 (the type of scores in a model) can hold.

    Llama 2 and Mistral keep their white-space pieces at -1e9. A score between those and the ordinary pieces would merge
    new pieces before them, so the absolute minimum counts; there float32's steps are 64.
    """
    scores = []
    score = np.float32(lowest)
    for _ in range(n):
        score = min(np.float32(score - 1), np.nextafter(score, np.float32(-np.inf)))
        scores.append(float(score))
    return scores
