"""What the names of split patterns in GGUF files (tokenizer.ggml.pre) stand for in the publishers' tokenizer.json.

A GGUF names how text is split instead of saying it. llama.cpp's converter gives the name by the ids that the
publisher's tokenizer makes of one text (`hard_strings.LLAMA_CPP_TEXT`): it knows the hash of these ids. So a name is
not believed: what is made of a file must give ids with a hash that goes with its name. Names are left out here where no
tokenizer.json of the publisher was at hand to take the pattern from.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vocabopt.tokenizer.hard_strings import LLAMA_CPP_TEXT
from vocabopt.tokenizer.patterns import CL100K_PATTERN, O200K_PATTERN, QWEN35_PATTERN, QWEN_PATTERN, TEKKEN_PATTERN
from vocabopt.tokenizer.tokenizer_json import counting_tokenizer, split_step

_N_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """How a byte-level tokenizer cuts text before its merges.

    steps: of the pre-tokenizer, the last of which writes bytes. normalizer: a Unicode normal form. takes_whole: a
    pre-token that is a token is taken as it is. begins_with_bos: unless the file says otherwise. hashes: of the ids
    that the publisher's tokenizer makes of LLAMA_CPP_TEXT, their first 16 hexadecimal digits.
    """

    steps: Sequence[Mapping[str, Any]]
    hashes: Sequence[str]
    normalizer: str | None = None
    takes_whole: bool = False
    begins_with_bos: bool = False

    def proves(self, tokenizer_json: Mapping[str, Any], bos_id: int | None, eos_id: int | None) -> bool:
        """Whether this tokenizer makes of llama.cpp's text what one of this name does.

        Args:
            bos_id, eos_id: what a publisher's tokenizer may put around text; files do not always say whether it does.
        """
        ids = counting_tokenizer(tokenizer_json).encode(LLAMA_CPP_TEXT, add_special_tokens=False).ids
        for begin in ([], [bos_id]):
            for end in ([], [eos_id]):
                if hashlib.sha256(str([*begin, *ids, *end]).encode()).hexdigest()[:_N_DIGITS] in self.hashes:
                    return True
        return False


def _byte_level(*, splits: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": splits}


def _by_patterns(*patterns: str) -> list[dict[str, Any]]:
    return [*map(split_step, patterns), _byte_level(splits=False)]


_DIGITS = {"type": "Digits", "individual_digits": True}
_GPT2 = [_byte_level(splits=True)]
_STARCODER = [_DIGITS, *_GPT2]
_FALCON = [
    {"type": "Punctuation", "behavior": "Contiguous"},
    *_GPT2,
    {"type": "Digits", "individual_digits": False},
    split_step("[0-9][0-9][0-9]"),
]
_HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_DEEPSEEK_V3 = _by_patterns(
    r"\p{N}{1,3}",
    _HAN_AND_KANA,
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_DEEPSEEK_CODER = [
    *map(split_step, (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")),
    _DIGITS,
    _byte_level(splits=False),
]
_LLAMA_3 = Splitting(
    steps=_by_patterns(CL100K_PATTERN), hashes=("0ef9807a4087ebef",), takes_whole=True, begins_with_bos=True
)
_NEOX = Splitting(steps=_GPT2, hashes=("b6dc8df998e1cfbd",), normalizer="NFC")
#: By the name in the file. llama3 and llama-v3 are older names of llama-bpe.
SPLITTINGS: Mapping[str, Splitting] = {
    "command-r": Splitting(steps=_STARCODER, hashes=("9c2227e4dd922002",), normalizer="NFC"),
    "deepseek-coder": Splitting(steps=_DEEPSEEK_CODER, hashes=("347715f544604f91",)),
    "deepseek-v3": Splitting(steps=_DEEPSEEK_V3, hashes=("877081d19cf6996e",)),
    "exaone4": Splitting(steps=_GPT2, hashes=("2085e1638f6c377a",)),
    "falcon": Splitting(steps=_FALCON, hashes=("8aeee3860c56296a",)),
    "gpt-2": Splitting(steps=_GPT2, hashes=("3ce83efda5659b07",)),
    "gpt-4o": Splitting(steps=_by_patterns(O200K_PATTERN), hashes=("ccc2ef013c104be7",)),
    "llama-bpe": _LLAMA_3,
    "llama-v3": _LLAMA_3,
    "llama3": _LLAMA_3,
    "llama4": Splitting(steps=_by_patterns(O200K_PATTERN), hashes=("d353350c764d8c3b",)),
    "mpt": _NEOX,
    "olmo": _NEOX,
    "qwen2": Splitting(
        steps=_by_patterns(QWEN_PATTERN), hashes=("e636dc30a262dcc0", "d4540891389ea895"), normalizer="NFC"
    ),
    "qwen35": Splitting(
        steps=_by_patterns(QWEN35_PATTERN), hashes=("d30d75d9059f1aa2", "1444df51289cfa80"), normalizer="NFC"
    ),
    "refact": Splitting(steps=_STARCODER, hashes=("6221ad2852e85ce9",)),
    "smollm": Splitting(steps=_STARCODER, hashes=("855059429035d75a",)),
    "starcoder": Splitting(steps=_STARCODER, hashes=("35d91631860c815f",)),
    "tekken": Splitting(
        steps=_by_patterns(TEKKEN_PATTERN), hashes=("63b97e4253352e6f",), takes_whole=True, begins_with_bos=True
    ),
}
