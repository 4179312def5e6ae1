"""What the tests of bases, growth and promises share: small bases, the engine on documents in memory."""

import copy
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import regex
import sentencepiece
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from vocabopt.growth.balance import ONE_TARGET, Balance
from vocabopt.growth.chunk_kernel import scan_documents
from vocabopt.growth.counts import ChunkCounts, Documents, SetStats, count_chunks
from vocabopt.growth.grow import Growth, GrowthOptions, grow, protected_chunks
from vocabopt.growth.symbols import Segmentation, segment
from vocabopt.merging.export import merged_tokenizer_json
from vocabopt.merging.extension import grown as grown_addition
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import refine
from vocabopt.tokenizer.families import char_of_byte

CORPUS = Path(__file__).parent.parent / "corpus"
HANGUL = ("Hangul",)
#: What `tokenizers` makes a BPE model with, beside its vocabulary and merges.
BPE_SETTINGS = (
    *("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"),
    *("fuse_unk", "byte_fallback", "ignore_merges"),
)
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def lines_of(language: str) -> list[str]:
    """The sample corpus, a document per line."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((CORPUS / language).glob("*.txt"))]
    return [line for text in texts for line in text.split("\n") if line.strip()]


def has_hangul(text: str) -> bool:
    """As the `regex` module sees it, which is not where the project looks."""
    return regex.search(r"\p{Script=Hangul}", text) is not None


# --- Small bases -----------------------------------------------------------------------------------------------------


def train_byte_level(lines: Sequence[str], vocab_size: int, *, llama3: bool = False) -> dict[str, Any]:
    """tokenizer.json of a byte-level BPE: GPT-2's pipeline, or Llama 3's split pattern with Qwen's NFC.

    GPT-2 has its special token in the model's vocabulary; Llama 3 and Qwen have theirs outside it, after the last id.
    """
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] if llama3 else ["<|endoftext|>"]
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if llama3:
        tokenizer.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), behavior="isolated", invert=False)
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special) if llama3 else vocab_size,
        special_tokens=[] if llama3 else special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_special_tokens(special)
    value: dict[str, Any] = json.loads(tokenizer.to_str())
    return value


def train_sentencepiece(lines: Sequence[str], vocab_size: int, **options: Any) -> bytes:
    """A SentencePiece model as Llama 2's: BPE, byte fallback, no normalisation, a dummy prefix."""
    settings = {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "character_coverage": 0.98,
        "minloglevel": 2,
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=vocab_size, **{**settings, **options}
    )
    return model.getvalue()


def toy_sentencepiece(characters: str, *pieces: str) -> dict[str, Any]:
    """tokenizer.json of Llama 2's kind that knows these characters, and `pieces` to which no merge leads."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *characters, *pieces]
    tokenizer = tokenizers.Tokenizer(
        models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    value: dict[str, Any] = json.loads(tokenizer.to_str())
    return value


def base_of(value: dict[str, Any] | bytes, name: str = "small") -> Tokenizer:
    """The base that a tokenizer.json, or the bytes of a .model, makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name / ("tokenizer.model" if isinstance(value, bytes) else "tokenizer.json")
        path.parent.mkdir()
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        return load_base(str(path))


def examples(n: int) -> int:
    """How many examples of hypothesis a test takes: n in `make test-all`, a fourth of them for every save."""
    return n if os.environ.get("VOCABOPT_TEST_ALL") else max(n // 4, 10)


# --- The engine and the authorities on documents in memory ------------------------------------------------------------


@dataclass(frozen=True)
class Counted:
    """Documents by set name, counted and encoded with a base, through the real pipeline without files."""

    base: Tokenizer
    counts: ChunkCounts
    segmentation: Segmentation

    @classmethod
    def of(
        cls,
        base: Tokenizer,
        documents: Mapping[str, Sequence[str]],
        *,
        protected: Sequence[str] = (),
        cross_spaces: bool = False,
    ) -> "Counted":
        # Where there is no such set there are several targets, which come first.
        sets = {TRAIN: SetStats("train"), HELDOUT: SetStats("heldout")} if TRAIN in documents else {}
        sets |= {name: SetStats("protected" if name in protected else "eval") for name in documents if name != TRAIN}
        blocks = [block_of(name, texts) for name, texts in documents.items() if texts]
        counts = count_chunks(blocks, sets, base, heldout_share=0.0, seed=0, cross_spaces=cross_spaces)
        if base.family == "byte-level-bpe":
            counts = refine(base, counts)
        return cls(base, counts, segment(base, counts, counts.weights()))

    def n_tokens_base(self) -> dict[str, int]:
        """Tokens of each set without added tokens, as the curve counts them."""
        return self.segmentation.base_tokens(self.counts.sets)

    def grow(self, options: GrowthOptions) -> Growth:
        weights, stats = self.counts.weights(), self.counts.sets.values()
        protected = [i for i, each in enumerate(stats) if each.role == "protected"]
        cut = self.base if self.base.cuts_bytes else None
        mask = protected_chunks(self.counts, weights, protected, options.scripts, cut)
        return grow(self.base, self.counts, self.segmentation, weights, mask, options)


def grow_documents(
    base: Tokenizer,
    documents: Mapping[str, Sequence[str]],
    *,
    protected: Sequence[str] = (),
    scripts: tuple[str, ...] = HANGUL,
    max_added: int = 10_000,
    min_saving: int = 2,
    balance: Balance = ONE_TARGET,
) -> Growth:
    """The growth curve of documents by set name, `train` among them, or those of all targets first."""
    options = GrowthOptions(scripts=scripts, max_added=max_added, min_saving=min_saving, balance=balance)
    return Counted.of(base, documents, protected=protected).grow(options)


def block_of(name: str, texts: Sequence[str]) -> Documents:
    data = "\0".join(texts).encode()
    ends = np.append(np.flatnonzero(np.frombuffer(data, np.uint8) == 0), len(data))
    return Documents(name, data, np.concatenate([[0], ends[:-1] + 1]), ends)


def merged(base: Tokenizer, curve: pl.DataFrame, n_added: int) -> tokenizers.Tokenizer:
    """The tokenizer with the first `n_added` tokens, as `vocabopt merge` writes it."""
    return library_tokenizer(merged_tokenizer_json(base, grown_addition(base, curve, n_added)))


def library_tokenizer(source: Path | Mapping[str, Any]) -> tokenizers.Tokenizer:
    """What `tokenizers` makes of a tokenizer.json with a BPE model, given as a file, its folder or its content.

    The library reads all of it. Then the model is made again from what the library read, its vocabulary and merges,
    without the memory of encoded words: the library never gives that back, not even when the model is gone, and the
    whole sample corpus is encoded hundreds of times here (reports/LOG.md, 2026-11-30).
    """
    if isinstance(source, Path):
        text = (source / "tokenizer.json" if source.is_dir() else source).read_text(encoding="utf-8")
    else:
        text = json.dumps(source)
    tokenizer, value = tokenizers.Tokenizer.from_str(text), json.loads(text)["model"]
    read = tokenizer.model
    assert isinstance(read, models.BPE)
    tokenizer.model = models.BPE(
        vocab=value["vocab"],
        merges=[(left, right) for left, right in value["merges"]],
        cache_capacity=0,
        **{name: setting for name in BPE_SETTINGS if (setting := getattr(read, name)) is not None},
    )
    return tokenizer


def all_ids(tokenizer: tokenizers.Tokenizer, documents: Iterable[str]) -> list[list[int]]:
    encodings = tokenizer.encode_batch_fast(list(documents), add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def n_tokens(tokenizer: tokenizers.Tokenizer, documents: Iterable[str]) -> int:
    """What promise P1 compares a curve's count with: whole documents, encoded."""
    texts = list(documents)
    batches = (texts[i : i + 4_096] for i in range(0, len(texts), 4_096))
    return sum(len(e) for batch in batches for e in tokenizer.encode_batch_fast(batch, add_special_tokens=False))


def split_heldout(texts: Sequence[str], share: float = 0.05, seed: int = 0) -> dict[str, list[str]]:
    """The training documents of a sweep by set: which are held out, their content says."""
    block = block_of(TRAIN, texts)
    data = np.frombuffer(block.data, np.uint8)
    hashes, *_ = scan_documents(data, block.starts, block.ends, np.uint64(seed), np.zeros(1 << 16, bool))
    is_heldout = (hashes & np.uint64(0xFFFFFFFF)) < np.uint64(round(share * 2**32))
    return {
        TRAIN: [text for text, held in zip(texts, is_heldout, strict=True) if not held],
        HELDOUT: [text for text, held in zip(texts, is_heldout, strict=True) if held],
    }


def without_bytes(base: Tokenizer, missing: Sequence[int]) -> dict[str, Any]:
    """tokenizer.json of a byte-level base that has no piece with these bytes; other pieces keep their ids."""
    value = copy.deepcopy(dict(base.tokenizer_json))
    lost = {char_of_byte()[byte] for byte in missing}
    model = value["model"]
    specials = {token["content"] for token in value["added_tokens"]}
    kept = {piece: index for piece, index in model["vocab"].items() if piece in specials or not lost & set(piece)}
    merges = [pair for pair in model["merges"] if {*pair, "".join(pair)} <= kept.keys()]
    return {**value, "model": {**model, "vocab": kept, "merges": merges}}


def ranks_of(base: Tokenizer) -> dict[bytes, int]:
    """A rank file's content from a small byte-level base: its tokens in the order of their ids."""
    tokens = [base.pieces[i] for i in range(base.n_tokens) if base.pieces[i]]
    # The bytes first, in their order, as Tekken has them.
    tokens = sorted(tokens, key=lambda token: (len(token) > 1, token if len(token) == 1 else b""))
    return {token: rank for rank, token in enumerate(tokens)}


def model_file(name: str) -> Path:
    """A .model file: of the package mistral-common, or of the development data."""
    spec = find_spec("mistral_common")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))) / "data" / name
