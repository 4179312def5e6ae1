"""Text on which tokenizers go wrong: what normalisers, split patterns, guards and byte fallback have trouble with."""

import functools

#: The text by whose ids llama.cpp's converter recognises a pre-tokenizer: an interoperability constant of
#: convert_hf_to_gguf.py, get_vocab_base_pre (github.com/ggml-org/llama.cpp, MIT licence).
LLAMA_CPP_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n"
    "\U0001f680 (normal) \U0001f636\u200d\U0001f32b\ufe0f (multiple emojis concatenated) \u2705 "
    "\U0001f999\U0001f999 3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 "
    "\u1780\u17b6\u1793\u17cb\u178f\u17c2\u1796\u17b7\u179f\u17c1\u179f\u17a2\u17b6\u1785\U0001f601 "
    "?\u6211\u60f3\u5728apple\u5de5\u4f5c1314151\u5929\uff5e ------======= "
    "\u043d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438 "
    "''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? "
    "'M not sure I'll make it, 'D you like some tea? We'Ve a'lL"
)

_SPACES = (
    *(" ", "  ", "   ", "    ", "\t", "\t\t", " \t \t ", "\n", "\n\n", "\r\n", "\r", "\n  \n", "\x0b", "\x0c", "\x85"),
    *("\u00a0", "\u2002", "\u2009", "\u2028", "\u2029", "\u3000", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff"),
)
_SYMBOLS = (
    *("\u2581", "\u2581\u2581", " \u2581 ", "\u2581a", "\x00", "\x01", "\x1b[31m", "\x7f", "\x9f", "\ufffd", "\ufffe"),
    *("\u202e", "\u2066", "\u2069", "\u061c", "\u200e", "\U000e0001", "\u00ad", "\ud7ff", "\ue000", "\uffff"),
    *("\U00010000", "\U0010ffff", "\u0301", "\u20dd", "\u0e33", "\ufe0f", "\u0345", "\u1160", "\u3164", "\uffa0"),
)
_EMOJI = (
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f1f0\U0001f1f7\U0001f1fa\U0001f1f8\U0001f1eb",
    "\U0001f44d\U0001f3fd \u2764\ufe0f \u2764 1\ufe0f\u20e3",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)
_WORDS = (
    *("the", " The", "THE", "don't", "DON'T I'LL", "\u2019tis the writer\u2019s", "na\u00efve", "a", " a"),
    *("nai\u0308ve", "cafe\u0301 caf\u00e9"),
    *("\u212bngstr\u00f6m \u00c5 A\u030a", "\ufb01nd o\ufb03ce \u017fir", "\u0130stanbul i\u0307"),
    *("1234567890", "3.14159", "1,000,000", "12:34:56", "2024-02-29", "\u0661\u0662\u0663", "\u2460\u2461\u00bd\u00b2"),
    *("...", "?!?!", "--", "______", "=== ~~~ ***", "\u201cquoted\u201d \u2018it\u2019", "https://a.b/c?d=e&f=%20#g"),
    *("x@y.example", "C:\\Users\\me", "\\u0041 \\n", "$\\frac{a}{b}$", "\u221a2 \u2248 1.414 \u2260 \u221e"),
    *("Supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis", "camelCaseAndPascalCase"),
)
_CODE = (
    "def f(x):\n    return x ** 2  # square\n\n\nif __name__ == '__main__':\n\tprint(f(3))\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i]; }\r\n\r\n\t\t}",
    '{"key": [1, 2.5e-10, null, true], "n\\u0303": "\\t"}',
    '<div class="a">&nbsp;&amp;<!-- x --></div>\n    <br/>',
    "SELECT * FROM t WHERE a = 'it''s' -- comment",
    "#!/bin/sh\nset -eu; echo \"$@\" | sed 's/\\./,/g' > /dev/null 2>&1",
)
_LOOK_ALIKES = (
    *("<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>user\nhi<|im_end|>", "[INST] hi [/INST]", "<bos>"),
    *("<0xEA>", "<0x0A>", "<0xGG>", "</s", "<s >", "< s>", "<|", "|>", "<|endoftext", "a</s>b <s> c", "##ing", "@@"),
)
_RUNS = (
    *("a" * 300, " " * 300, "\n" * 70, "\t" * 40, "=" * 200, "-" * 129, "ab" * 150, "0" * 100, "!" * 90, ". " * 100),
    *("\u0301" * 40, "\U0001f600" * 30, "\u4e00" * 60, "\uac00" * 60, "\u3131" * 50, "\u00e9" * 80),
)
_LANGUAGES = (
    "한국어 문장입니다. 그리고 또 하나!",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "\u1100 \u1161 \u11a8 \ua960 \ud7b0 ㄱㅏ \uffa1\uffc2 \u3200 \u3260 \u302e",
    "뷁쒛뛷 힣가 ㅋㅋㅋㅋ ㅠㅠ",
    "我喜欢吃苹果。你呢\uff1f繁體字、《書》",
    "日本語の文章です。カタカナ\u30fc\uff76\uff9e",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0451 \u0435\u0308 \u0439 \u0438\u0306",
    "Καλημέρα κόσμε Ἀχιλλεύς",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u064e\u0651 \ufefb",
    "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u094d\u0937 \u092f\u0939 \u0939\u0948",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22\u0e44\u0e21\u0e48\u0e21\u0e35\u0e0a\u0e48\u0e2d\u0e07",
    "\u1780\u17b6\u179a \u1000\u103c\u102d\u102f გამარჯობა Աւ አማ",
    "Tiếng Việt, türkçe, skål, łódź, hän söi pöydässä",
    "English that quotes 신라 and 漢 and goes on; «français» aussi.",
)
#: Where the guard of a script has its edges: characters next to blocks, and others that share their lead bytes.
_EDGES = (
    *((0x0370, 0x0400), (0x0590, 0x0700), (0x1000, 0x1400), (0x2E80, 0x3400), (0x4DB0, 0x4E10), (0x9FF0, 0xA4D0)),
    *((0xA4D0, 0xAC10), (0xD790, 0xD800), (0xE000, 0xE040), (0xF8F0, 0xFB60), (0xFE20, 0x10000), (0x1B000, 0x1B130)),
    *((0x1F100, 0x1F260), (0x20000, 0x20040)),
)


@functools.cache
def hard_strings() -> tuple[str, ...]:
    """All of them: alone, inside a sentence, next to each other, and the characters at the edges of guards."""
    parts = (*_SPACES, *_SYMBOLS, *_EMOJI, *_WORDS, *_LOOK_ALIKES, *_LANGUAGES)
    inside = (f"x{part}y {part} z" for part in parts)
    neighbours = ("".join(parts[i : i + 6]) for i in range(0, len(parts), 3))
    # Of the edges runs of 16 characters, as a word, and each character behind a space.
    starts = ((i, min(i + 16, last)) for first, last in _EDGES for i in range(first, last, 16))
    edges = (separator.join(map(chr, range(*run))) for run in starts for separator in ("", " "))
    return tuple(dict.fromkeys((*parts, *_CODE, *_RUNS, LLAMA_CPP_TEXT, *inside, *neighbours, *edges)))
