"""SentencePiece BPE models: read the .model file and write the tokenizer.json that encodes exactly as it does."""

from typing import Any

from sentencepiece import sentencepiece_model_pb2 as sp_pb2

from vocabopt.errors import BaseTokenizerError

SPACE_SYMBOL = "▁"
_BPE = 2
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE, _UNUSED = 1, 2, 3, 4, 6, 5


def parse_model(data: bytes, place: str) -> Any:
    """Parse a SentencePiece model file into its protocol buffer message.

    Raises:
        BaseTokenizerError: not a SentencePiece model, or one whose encoder cannot be grown exactly.
    """
    model = sp_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own DecodeError is private to its backend
        raise BaseTokenizerError(
            f"{place}: is not a SentencePiece model ({error}). Pass a SentencePiece BPE .model or a tokenizer.json."
        ) from error
    if not model.pieces:
        raise BaseTokenizerError(f"{place}: holds no pieces. Pass a SentencePiece BPE .model or a tokenizer.json.")
    _refuse_unsupported(model, place)
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
    bos = "<s>" if "<s>" in vocab else None
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": piece.piece,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": piece.type != _USER_DEFINED,
            }
            for index, piece in special
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [*([{"type": "Prepend", "prepend": SPACE_SYMBOL}] if prefix else []), replace],
        },
        "pre_tokenizer": None,
        "post_processor": _bos_first(bos, vocab[bos]) if bos else None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE_SYMBOL}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [list(pair) for pair in merges_of(model)],
        },
    }


def _bos_first(bos: str, bos_id: int) -> dict[str, Any]:
    token = {"SpecialToken": {"id": bos, "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [token, first],
        "pair": [token, first, {"SpecialToken": {"id": bos, "type_id": 1}}, second],
        "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
    }


def special_token_names(model: Any) -> dict[str, str]:
    """bos_token, eos_token, unk_token as tokenizer_config.json names them, where the model has them."""
    pieces = {piece.piece for piece in model.pieces}
    trainer = model.trainer_spec
    names = {"bos_token": trainer.bos_piece, "eos_token": trainer.eos_piece, "unk_token": trainer.unk_piece}
    return {name: piece for name, piece in names.items() if piece in pieces}
