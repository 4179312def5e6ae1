"""tokenizer.json settings, generated: every component that such a file can state for the two families that grow.

Mistral's and GPT-2-like pieces, made small: the first merges of the real vocabulary, or a byte-level BPE trained here.
"""

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from helpers import LLAMA3_PATTERN, lines_of, train_byte_level

from vocabopt.tokenizer.patterns import CL100K_PATTERN, O200K_PATTERN, QWEN_PATTERN, TEKKEN_PATTERN

#: Contents of added tokens: white space, newlines, words, Hangul, signs, text that normal forms change, ▁.
CONTENTS = [
    *(
        "  ",
        "    ",
        " ",
        "\t",
        "\n",
        "\n\n",
        "\r\n",
        "\u00a0",
        "the",
        "in",
        "and",
        "한국",
        "국",
        "은",
        "<|x|>",
        "<x>",
        ".",
        "&&",
    ),
    *("é", "e\u0301", "ﬁ", "가", "\u1112\u1161\u11ab", "ａｂ", "㈜", "▁▁", "▁", "a b", " 그", "것 ", "</s>"),
]
FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
UNICODE_NORMALIZERS = (
    None,
    *({"type": form} for form in ("NFC", "NFD", "NFKC", "NFKD")),
    {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "NFC"}]},
    {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFD"}]}]},
)
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_PREPEND = {"type": "Prepend", "prepend": "▁"}
_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
#: (normaliser, pre-tokenizer) of the SentencePiece family.
SENTENCEPIECE_PARTS = (
    ({"type": "Sequence", "normalizers": [_PREPEND, _REPLACE]}, None),
    (_REPLACE, None),
    (_REPLACE, _SPLIT),
    ({"type": "Sequence", "normalizers": [_REPLACE, _PREPEND]}, None),
    ({"type": "Sequence", "normalizers": [{"type": "NFKC"}, _PREPEND, _REPLACE]}, None),
    *(
        (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split})
        for scheme in ("always", "first", "never")
        for split in (False, True)
    ),
)
PATTERNS = (None, LLAMA3_PATTERN, CL100K_PATTERN, QWEN_PATTERN, O200K_PATTERN, TEKKEN_PATTERN, r"\d|[가-힣 ]+")
BEHAVIORS = ("Isolated", "Removed", "MergedWithNext")


def post_processors() -> list[dict[str, Any] | None]:
    first = {"Sequence": {"id": "A", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, first],
        "pair": [first, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    trimming = [
        {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": True}
        for prefix in (True, False)
        for trim in (True, False)
    ]
    ends = {"sep": ["</s>", 2], "cls": ["<s>", 1]}
    roberta = {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": True}
    return [
        None,
        template,
        *trimming,
        roberta,
        {"type": "BertProcessing", **ends},
        {"type": "Sequence", "processors": [trimming[2], template]},
    ]


def added_tokens(choose: random.Random, vocab: Mapping[str, int], n: int) -> list[dict[str, Any]]:
    tokens = []
    new_id = max(vocab.values()) + 1
    for content in choose.sample(CONTENTS, n):
        flags = {name: choose.random() < 0.4 for name in FLAGS}
        index = vocab.get(content)
        # Nearly always refused where the vocabulary lacks it.
        flags["single_word"] &= index is not None or choose.random() < 0.1
        if index is None:
            index, new_id = new_id, new_id + 1
        tokens.append({"id": index, "content": content, **flags})
    return sorted(tokens, key=lambda token: token["id"])


def byte_level_settings(model: Mapping[str, Any], n: int, seed: int) -> Iterator[dict[str, Any]]:
    """`n` documents with the pieces of a byte-level model; each value of each component comes up again and again."""
    choose = random.Random(seed)
    posts = post_processors()
    cycles = [itertools.cycle(values) for values in (posts, UNICODE_NORMALIZERS, PATTERNS)]
    for i in range(n):
        post, normalizer, pattern = (next(cycle) for cycle in cycles)
        prefix = choose.random() < 0.3
        step = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": choose.random() < 0.5}
        steps: list[dict[str, Any]] = [{**step, "use_regex": pattern is None and choose.random() < 0.9}]
        if pattern is not None:
            behavior = "Isolated" if choose.random() < 0.8 else choose.choice(BEHAVIORS)
            invert = choose.random() < 0.1
            steps.insert(0, {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert})
            if choose.random() < 0.2:
                steps[-1]["use_regex"] = True
        yield {
            **_batches(choose),
            "added_tokens": added_tokens(choose, model["vocab"], 1 + i % 4),
            "normalizer": normalizer,
            "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
            "post_processor": post,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {**model, "ignore_merges": choose.random() < 0.3},
        }


def sentencepiece_settings(model: Mapping[str, Any], n: int, seed: int) -> Iterator[dict[str, Any]]:
    """The same with the pieces of a SentencePiece model."""
    choose = random.Random(seed)
    cycles = [itertools.cycle(values) for values in (post_processors(), SENTENCEPIECE_PARTS)]
    for i in range(n):
        post, (normalizer, pre_tokenizer) = (next(cycle) for cycle in cycles)
        specials = [
            {"id": i, "content": content, **dict.fromkeys(FLAGS, False), "special": True}
            for i, content in enumerate(("<unk>", "<s>", "</s>"))
        ]
        own = [token for token in added_tokens(choose, model["vocab"], 1 + i % 4) if token["content"] != "</s>"]
        yield {
            **_batches(choose),
            "added_tokens": specials + own,
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": post,
            "decoder": None,
            "model": {**model, "ignore_merges": choose.random() < 0.15},
        }


def _batches(choose: random.Random) -> dict[str, Any]:
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    pad = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    return {
        "version": "1.0",
        "truncation": cut if choose.random() < 0.2 else None,
        "padding": pad if choose.random() < 0.2 else None,
    }


def first_merges(model: Mapping[str, Any], n_merges: int, kept: Sequence[str] = ()) -> dict[str, Any]:
    """A BPE model made small: its first merges, and the pieces they are made of; new ids in the old order.

    kept: pieces to keep besides single characters.
    """
    merges = [tuple(pair) for pair in model["merges"][:n_merges]]
    parts = {part for left, right in merges for part in (left, right, left + right)} | set(kept)
    vocab = model["vocab"]
    pieces = sorted({piece for piece in vocab if len(piece) == 1 or piece in parts}, key=vocab.__getitem__)
    return {**model, "merges": [list(pair) for pair in merges], "vocab": {piece: i for i, piece in enumerate(pieces)}}


def nasty_documents(seed: int, n: int, contents: Sequence[str]) -> list[str]:
    """Documents of words, white space, odd characters, and the added tokens: apart, and glued to words."""
    choose = random.Random(seed)
    words = [word for line in lines_of("ko")[:30] for word in line.split()]
    odd = [
        *(" ", "  ", "   ", "     ", "\t", "\t ", "\n", "\n\n", " \n ", "\r", "\r\n", "\u00a0", " \u00a0", "\u3000"),
        *("\u1112\u1161\u11ab\u1100\u116e\u11a8", "e\u0301", "é", "\u0301", "ﬁ", "ａｂ", "㈜", "①", "\ufeff", "\u200b"),
        *("👨‍👩‍👧", "🇰🇷", "❤️", "the", "The", "other", "don't", "12345", "...", "</", "> </b", "▁", "▁▁", "\x01", "뷁"),
        *("\u0378", "\u00a8", "ﷺ", "㎞", "ㄱ", "ﾡ", "한국은", "것 ", " 그것"),
    ]
    documents = []
    for _ in range(n):
        parts = [choose.choice(choose.choice([words, words, odd, contents, [" "], [" "]])) for _ in range(14)]
        parts.insert(choose.randrange(len(parts)), choose.choice(words))
        documents.append("".join(parts))
    # Each content at the start and at the end, alone among white space, and twice.
    for content in contents:
        documents += [f"{content}한국 {content}", f"한{content}국{content}{content}어", f"  {content}  한국\n{content}"]
    return [document for document in documents if document.strip()]


def small_byte_level() -> dict[str, Any]:
    model: dict[str, Any] = train_byte_level(lines_of("en")[:300] + lines_of("ko")[:60], 700)["model"]
    return model


def with_settings(value: Mapping[str, Any]) -> str:
    """What of a tokenizer.json a test's message shows."""
    shown = {key: part for key, part in value.items() if key not in ("model", "decoder", "version")}
    return json.dumps({**shown, "ignore_merges": value["model"]["ignore_merges"]}, ensure_ascii=False)
