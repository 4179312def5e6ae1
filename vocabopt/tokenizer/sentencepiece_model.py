"""SentencePiece BPE models: read the .model file and write the tokenizer.json that encodes exactly as it does.

sentencepiece takes user-defined symbols out of the normalised text first, from left to right and the longest at each
place; they merge with nothing. Where merges can do the same they do, so that such text needs no other treatment.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as sp_pb2
from tokenizers import Tokenizer

from vocabopt.errors import BASES, BaseTokenizerError
from vocabopt.tokenizer.tokenizer_json import added_token, bos_first, bpe_model, isolating, split_step, whole_json

SPACE_SYMBOL = "▁"
#: Types of pieces in the file.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_BPE = 2
#: A piece that is the null character, as the file writes it: field 1, one byte long.
_NULL_PIECE = b"\x0a\x01\0"
_NO_PARTS = dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder"))


def parse_model(data: bytes, place: str) -> Any:
    """Parse a SentencePiece model file into its protocol buffer message.

    Raises:
        BaseTokenizerError: not a SentencePiece model, or one whose encoder cannot be grown exactly.
    """
    model = parse_any_model(data, place, other_kinds=BASES)
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
    if trainer.treat_whitespace_as_suffix:
        raise BaseTokenizerError(f"{place}: writes white space as a suffix of words, which is not supported.")
    return model


def parse_any_model(data: bytes, place: str, *, other_kinds: str = "") -> Any:
    """Parse a SentencePiece model file of any kind.

    Args:
        other_kinds: of tokenizers that would do as well, for the message.

    Raises:
        BaseTokenizerError: not a SentencePiece model, or one without pieces.
    """
    next_step = f". Pass {other_kinds}." if other_kinds else ""
    try:
        model = read_model(data)
    except Exception as error:  # protobuf's own DecodeError is private to its backend
        other = ", nor a tokenizer of another kind" if other_kinds else ""
        raise BaseTokenizerError(f"{place}: is not a SentencePiece model{other}{next_step}") from error
    if not model.pieces:
        raise BaseTokenizerError(f"{place}: holds no pieces{next_step}")
    return model


def read_model(data: bytes) -> Any:
    """The protocol buffer message of a SentencePiece model that is known to be one."""
    model = sp_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(data)
    for piece in model.pieces if _NULL_PIECE in data else ():
        # sentencepiece spells a null character in bytes, whatever the model says.
        if piece.piece == "\0" and piece.type == NORMAL and model.trainer_spec.byte_fallback:
            piece.type = UNUSED
    return model


def processor_of(data: bytes) -> sentencepiece.SentencePieceProcessor:
    """sentencepiece with a model."""
    if _NULL_PIECE in data:
        model = read_model(data)
        # It writes a line on standard error for each such piece, which it never uses.
        for index, piece in enumerate(model.pieces):
            piece.piece = _spelled(piece, index)
        data = model.SerializeToString()
    return sentencepiece.SentencePieceProcessor(model_proto=data)


def to_tokenizer_json(model: Any) -> dict[str, Any]:
    """The tokenizer.json of a SentencePiece BPE model with byte fallback: same ids on text without special tokens.

    Control and unknown pieces become added tokens. So do user-defined symbols that merges do not make; but the library
    looks for added tokens before it puts a space in front of text, and puts one behind each of them as well. So where
    the model has such a space, or a symbol holds one, symbols are pre-tokens.
    The post-processor puts <s> first, as Llama's does.
    """
    vocab = {_spelled(piece, index): index for index, piece in enumerate(model.pieces)}
    controls = [(index, piece.piece) for index, piece in enumerate(model.pieces) if piece.type in (UNKNOWN, CONTROL)]
    special = [added_token(index, content, special=True) for index, content in controls]
    cut_out = user_defined(model).cut_out
    prefix = model.normalizer_spec.add_dummy_prefix
    isolated = cut_out if prefix or any(SPACE_SYMBOL in symbol for symbol in cut_out) else ()
    added = [added_token(vocab[symbol], symbol, special=False) for symbol in cut_out if not isolated]
    unknown = next((piece.piece for piece in model.pieces if piece.type == UNKNOWN), None)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SYMBOL}
    normalizers = [{"type": "Prepend", "prepend": SPACE_SYMBOL}, replace] if prefix else [replace]
    decoders: list[dict[str, Any]] = [{**replace, "pattern": {"String": SPACE_SYMBOL}, "content": " "}]
    decoders += [{"type": "ByteFallback"}, {"type": "Fuse"}]
    decoders += [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    # protobuf gives the default, <s>, where the model does not name one.
    bos = model.trainer_spec.bos_piece if model.trainer_spec.bos_piece in vocab else None
    settings = {"unk_token": unknown, "fuse_unk": True, "byte_fallback": True}
    bpe = bpe_model(vocab, merges_of(model), **settings, ignore_merges=bool(isolated))
    return whole_json(
        bpe,
        sorted([*special, *added], key=lambda token: int(token["id"])),
        normalizer={"type": "Sequence", "normalizers": normalizers},
        pre_tokenizer=_isolating_symbols(bpe, isolated) if isolated else None,
        post_processor=bos_first(bos, vocab[bos]) if bos else None,
        decoder={"type": "Sequence", "decoders": decoders},
    )


def _isolating_symbols(bpe: Mapping[str, Any], symbols: Sequence[str]) -> dict[str, Any]:
    """The pre-tokenizer that leaves each symbol alone, to be found in the vocabulary as it stands.

    Other text between two symbols that is spelled like a token which no merge makes (<0x0A>) must not be found there:
    it is cut where merges leave it cut.
    """
    known = dict.fromkeys(symbols, True)
    pieces = [piece for piece in bpe["vocab"] if piece not in known]
    merging = Tokenizer.from_str(json.dumps(whole_json({**bpe, "ignore_merges": False}, [], **_NO_PARTS)))
    cuts = []
    for piece, encoding in zip(pieces, merging.encode_batch(pieces, add_special_tokens=False), strict=True):
        if encoding.ids != [bpe["vocab"][piece]] and len(piece) > 1:
            cut = next((end for _, end in encoding.offsets if 0 < end < len(piece)), 1)
            cuts.append(f"{re.escape(piece[:cut])}(?={re.escape(piece[cut:])}\\z)")
    steps = [isolating(symbols), split_step(f"\\A(?:{'|'.join(sorted(cuts))})")]
    return {"type": "Sequence", "pretokenizers": steps}


def _spelled(piece: Any, index: int) -> str:
    """A piece as the vocabulary spells it: an unused character, which text never gives, must not be found there."""
    return f"<unused_{index}>" if piece.type == UNUSED and len(piece.piece) == 1 else str(piece.piece)


def special_token_names(model: Any) -> dict[str, str]:
    """bos_token, eos_token, unk_token as tokenizer_config.json names them, where the model has them."""
    pieces = {piece.piece for piece in model.pieces}
    trainer = model.trainer_spec
    names = {"bos_token": trainer.bos_piece, "eos_token": trainer.eos_piece, "unk_token": trainer.unk_piece}
    return {name: piece for name, piece in names.items() if piece in pieces}


# --- As merges --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UserDefined:
    """The user-defined symbols of a model that text can hold.

    single: single characters; merges leave them alone. runs: character -> the longest of its runs, all lengths from two
    on being symbols; merges in front of all others make them. cut_out: all other symbols.
    """

    single: frozenset[str]
    runs: dict[str, int]
    cut_out: tuple[str, ...]

    @property
    def longer(self) -> list[str]:
        """Symbols of two characters or more that text cannot hold without giving them."""
        return [character * 2 for character in self.runs] + list(self.cut_out)


def user_defined(model: Any) -> UserDefined:
    # Spaces are written as ▁ before symbols are looked for, so one that holds a space is never found.
    symbols = [piece.piece for piece in model.pieces if piece.type == USER_DEFINED and " " not in piece.piece]
    known = {piece.piece for piece in model.pieces if piece.type in (NORMAL, USER_DEFINED)}
    longer = [symbol for symbol in symbols if len(symbol) > 1]
    mixed = [symbol for symbol in longer if len(set(symbol)) > 1]
    lengths: dict[str, set[int]] = {}
    for symbol in (symbol for symbol in longer if len(set(symbol)) == 1):
        lengths.setdefault(symbol[0], set()).add(len(symbol))
    runs = {
        character: max(found)
        for character, found in lengths.items()
        if found == {*range(2, max(found) + 1)}
        and character in known
        # A longer symbol could begin inside a run.
        and not any(character in symbol for symbol in mixed)
    }
    uniform = [symbol for symbol in longer if len(set(symbol)) == 1 and symbol[0] not in runs]
    single = frozenset(symbol for symbol in symbols if len(symbol) == 1)
    return UserDefined(single=single, runs=runs, cut_out=(*mixed, *uniform))


def merges_of(model: Any) -> list[tuple[str, str]]:
    """All merges of a SentencePiece BPE model, in an order that makes tokenizer.json encode as sentencepiece does.

    SentencePiece merges the neighbours whose union has the best score, leftmost first. Every split of a piece into
    two pieces is therefore a merge, ranked by the piece's score. Equal scores (the white-space pieces of Llama 2
    and Mistral, all at -1e9) are merged leftmost first by sentencepiece; ranking them by the length of the left
    part, longest first, gives the same: a run of spaces grows from its left end. User-defined runs grow alike, before
    everything else. Where pieces of one score meet otherwise, no order of merges does what sentencepiece does
    (`model_check.settled`); this one is that of transformers' converter (generate_merges with scores).
    """
    scores = mergeable(model)
    ranked = []
    for place, (piece, score) in enumerate(scores.items()):
        for cut in range(1, len(piece)):
            left = piece[:cut]
            if left in scores and (right := piece[cut:]) in scores:
                ranked.append((-score, -cut, cut - len(piece), place, left, right))
    ranked.sort()
    runs = user_defined(model).runs.items()
    of_runs = [(character * n, character) for character, longest in runs for n in range(longest - 1, 0, -1)]
    return of_runs + [(left, right) for *_, left, right in ranked]


def mergeable(model: Any) -> dict[str, float]:
    """Scores of the pieces that merges can make or take: no user-defined symbol is in them, as none is left in text."""
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    symbols = user_defined(model)
    if not symbols.single and not symbols.longer:
        return scores
    by_beginning: dict[str, list[str]] = {}
    for symbol in symbols.longer:
        by_beginning.setdefault(symbol[:2], []).append(symbol)

    def holds_symbol(piece: str) -> bool:
        return not symbols.single.isdisjoint(piece) or any(
            piece.startswith(symbol, i)
            for i in range(len(piece) - 1)
            for symbol in by_beginning.get(piece[i : i + 2], ())
        )

    return {piece: score for piece, score in scores.items() if not holds_symbol(piece)}


# --- Its pieces, and a model with more of them ------------------------------------------------------------------------


def is_bpe(model: Any) -> bool:
    """Is the model's encoder BPE?"""
    return bool(model.trainer_spec.model_type == _BPE)


def untied_model(data: bytes) -> bytes:
    """The model with a score of its own for each piece, those that share one in the order of their ids."""
    model = read_model(data)
    pieces = sorted((piece for piece in model.pieces if piece.type == NORMAL), key=lambda piece: -piece.score)
    for rank, piece in enumerate(pieces):
        piece.score = -float(rank)
    return bytes(model.SerializeToString())


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
        model.pieces.add(piece=token["content"], score=0.0, type=CONTROL if token["special"] else USER_DEFINED)
    lowest = min(piece.score for piece in model.pieces)
    scores = [0.0] * len(pieces) if zero else scores_below(lowest, len(pieces))
    for piece, score in zip(pieces, scores, strict=True):
        model.pieces.add(piece=piece, score=score, type=NORMAL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return bytes(model.SerializeToString())


def swapped_model(data: bytes, pieces: Mapping[int, str]) -> bytes:
    """A SentencePiece model in which ids stand for other pieces: id -> piece, in the order in which they merge, after
    all of the model's own."""
    model = read_model(data)
    scores = scores_below(min(piece.score for piece in model.pieces), len(pieces))
    for (index, piece), score in zip(pieces.items(), scores, strict=True):
        model.pieces[index].piece, model.pieces[index].score = piece, score
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
