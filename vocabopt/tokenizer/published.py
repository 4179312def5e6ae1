"""Rank files as they are published: what each leaves out, by the name people know it by.

llama3, llama3.1, llama4      meta-llama/llama-models, models/llama3 and models/llama4: tokenizer.py; llama3.1 with the
                              names of Llama 3.1 to 3.3
qwen, qwen3.5                 QwenLM/Qwen, tokenization_qwen.py (Qwen2 and Qwen3 come as tokenizer.json); tokenizer.json
                              and tokenizer_config.json of Qwen 3.5 and later, whose ranks others write out as a file
whisper ...                   openai/whisper, whisper/tokenizer.py: 99 languages, or 100 (large-v3, turbo)
r50k_base, cl100k_base ...    openai/tiktoken, tiktoken_ext/openai_public.py; o200k_harmony is that of gpt-oss
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vocabopt.tokenizer.patterns import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN, QWEN35_PATTERN, QWEN_PATTERN


@dataclass(frozen=True, kw_only=True)
class RankFamily:
    """What a rank file leaves out.

    hint: what the name of the file, its folder or its base looks like. sha256: of the published file in the form that
    `ranks.rank_file` writes; None where none is published. names: bos_token, ...
    """

    name: str
    hint: str
    n_ranks: int
    pattern: str
    specials: Mapping[str, int]
    sha256: str | None = None
    normalizer: str | None = None
    begins_with_bos: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


def numbered(first: int, contents: list[str]) -> dict[str, int]:
    """Contents with ids from `first` on."""
    return {content: first + i for i, content in enumerate(contents)}


def _reserved(first: int, last: int, kind: str = "") -> list[str]:
    return [f"<|{kind}reserved_special_token_{i}|>" for i in range(first, last + 1)]


_LLAMA_3 = [
    *("<|begin_of_text|>", "<|end_of_text|>", *_reserved(0, 3), "<|start_header_id|>", "<|end_header_id|>"),
    *(*_reserved(4, 4), "<|eot_id|>", *_reserved(5, 250)),
]
_LLAMA_3_1 = [
    *("<|begin_of_text|>", "<|end_of_text|>", *_reserved(0, 1), "<|finetune_right_pad_id|>", *_reserved(2, 2)),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", *_reserved(3, 247)),
]
_LLAMA_4 = [
    *("<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>", *_reserved(0, 5, "text_post_train_")),
    *("<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>", *_reserved(8, 68, "text_post_train_")),
    *("<|image_start|>", "<|image_end|>", *_reserved(0, 1, "vision_"), "<|tile_x_separator|>", "<|tile_y_separator|>"),
    *(*_reserved(2, 5, "vision_"), "<|image|>", *_reserved(6, 6, "vision_"), "<|patch|>"),
    *(*_reserved(7, 1047, "vision_"), *_reserved(0, 7, "reasoning_")),
    *("<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>", *_reserved(0, 903)),
]
_LLAMA_NAMES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
_QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))]
_QWEN_3_5 = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>"),
    *("<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>", "<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>"),
    *("<tts_text_bos_single>", "<|audio_pad|>"),
]
_QWEN_NAMES = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
_END = "<|endoftext|>"
_FIM = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
_HARMONY_NAMES = {
    199_998: "<|startoftext|>",
    199_999: "<|endoftext|>",
    200_002: "<|return|>",
    200_003: "<|constrain|>",
    200_005: "<|channel|>",
    200_006: "<|start|>",
    200_007: "<|end|>",
    200_008: "<|message|>",
    200_012: "<|call|>",
    # tiktoken has <|reserved_200018|> for this id as well; tokenizer.json, here and as published, has one.
    200_018: "<|endofprompt|>",
}
_HARMONY = {_HARMONY_NAMES.get(index, f"<|reserved_{index}|>"): index for index in range(199_998, 201_088)}
_LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue"
)


def _whisper(n_languages: int) -> list[str]:
    return [
        *("<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in _LANGUAGES.split()[:n_languages])),
        *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
        *(f"<|{i * 0.02:.2f}|>" for i in range(1_501)),
    ]


_R50K = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
_P50K = "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
_O200K = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_LLAMA_3_RANKS = "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55"
_CL100K = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
_LLAMA_4_RANKS = "d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed"
_QWEN_RANKS = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"
_WHISPER = "b34b360dbb493e781e479794586d661700670d65564001f23024971d1f2fa126"
_OF_EACH: dict[str, tuple[str, int, str, str | None, Mapping[str, int]]] = {
    # Name: hint, number of ranks, pattern, sha256, special tokens. Where two hints match, the first stands.
    "llama3.1": (r"llama[-_. ]?3[-_.][123]", 128_000, CL100K_PATTERN, _LLAMA_3_RANKS, numbered(128_000, _LLAMA_3_1)),
    "llama3": (r"llama[-_. ]?3", 128_000, CL100K_PATTERN, _LLAMA_3_RANKS, numbered(128_000, _LLAMA_3)),
    "llama4": (r"llama[-_. ]?4", 200_000, O200K_PATTERN, _LLAMA_4_RANKS, numbered(200_000, _LLAMA_4)),
    "qwen3.5": (r"qwen[-_. ]?3[._][5-9]", 248_044, QWEN35_PATTERN, None, numbered(248_044, _QWEN_3_5)),
    "qwen": (r"qwen", 151_643, QWEN_PATTERN, _QWEN_RANKS, numbered(151_643, _QWEN)),
    "whisper-en": (r"whisper.*(gpt-?2|\.en\b)", 50_256, GPT2_PATTERN, _R50K, numbered(50_256, _whisper(99))),
    "whisper-v3": (r"whisper.*(large-?v3|turbo)", 50_257, GPT2_PATTERN, _WHISPER, numbered(50_257, _whisper(100))),
    "whisper": (
        *(r"whisper.*(tiny|base|small|medium|large-?v[12])", 50_257, GPT2_PATTERN, _WHISPER),
        numbered(50_257, _whisper(99)),
    ),
    "r50k_base": (r"r50k|gpt-?2", 50_256, GPT2_PATTERN, _R50K, {_END: 50_256}),
    "p50k_edit": (r"p50k_edit", 50_280, GPT2_PATTERN, _P50K, {_END: 50_256, **numbered(50_281, _FIM)}),
    "p50k_base": (r"p50k", 50_280, GPT2_PATTERN, _P50K, {_END: 50_256}),
    "cl100k_base": (
        *(r"cl100k", 100_256, CL100K_PATTERN, _CL100K),
        {**numbered(100_257, [_END, *_FIM]), "<|endofprompt|>": 100_276},
    ),
    "o200k_harmony": (r"harmony|gpt-?oss", 199_998, O200K_PATTERN, _O200K, _HARMONY),
    "o200k_base": (r"o200k", 199_998, O200K_PATTERN, _O200K, {_END: 199_999, "<|endofprompt|>": 200_018}),
}
#: bos_token, ... where they are not OpenAI's.
_NAMES: Mapping[str, Mapping[str, str]] = {
    "llama3.1": _LLAMA_NAMES,
    "llama3": _LLAMA_NAMES,
    "llama4": _LLAMA_NAMES | {"pad_token": "<|finetune_right_pad|>"},
    "qwen3.5": _QWEN_NAMES,
    "qwen": _QWEN_NAMES,
    "o200k_harmony": {"bos_token": "<|startoftext|>", "eos_token": "<|return|>", "pad_token": _END},
}
KNOWN = {
    name: RankFamily(
        name=name,
        hint=hint,
        n_ranks=n_ranks,
        pattern=pattern,
        specials=specials,
        sha256=sha256,
        normalizer="NFC" if name.startswith("qwen") else None,
        begins_with_bos=name.startswith("llama"),
        names=_NAMES.get(name, {"bos_token": _END, "eos_token": _END}),
    )
    for name, (hint, n_ranks, pattern, sha256, specials) in _OF_EACH.items()
}
