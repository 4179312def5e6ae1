r"""Split patterns of byte-level tokenizers, as their publishers write them.

GPT2_PATTERN        GPT-2 (openai/gpt-2, src/encoder.py)
CL100K_PATTERN      cl100k_base (openai/tiktoken, tiktoken_ext/openai_public.py), Llama 3
QWEN_PATTERN        Qwen, Qwen2: the same with one digit a number
QWEN35_PATTERN      Qwen 3.5 and later (tokenizer.json): the same with marks as letters
O200K_PATTERN       o200k_base (openai/tiktoken)
TEKKEN_PATTERN      Mistral's Tekken: o200k without English endings, and with one digit a number
"""

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_PATTERN = CL100K_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K_WORD = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K_PATTERN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_O200K_WORD[0]}*{_O200K_WORD[1]}+{_ENDINGS}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_O200K_WORD[0]}+{_O200K_WORD[1]}*{_ENDINGS}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN_PATTERN = O200K_PATTERN.replace(_ENDINGS, "").replace(r"\p{N}{1,3}", r"\p{N}")
#: None of these matches across a space that follows a character which is not white space (chunks.py says why).
PATTERNS_CUT_AT_SPACES = frozenset(
    {GPT2_PATTERN, CL100K_PATTERN, QWEN_PATTERN, QWEN35_PATTERN, O200K_PATTERN, TEKKEN_PATTERN}
)
