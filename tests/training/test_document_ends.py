"""What opens and closes plain documents: never a mark of chat turns, whatever the tokenizer calls its begin and end."""

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trainer.document_ends import document_ends, turn_marks
from vocabopt.errors import OptionError
from vocabopt.training_record import DocumentEnds

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant' }}{% endif %}"
)
#: Refuses a system message, as Mistral's does; </s> stands behind an answer, where the text ends.
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'system' %}{{ raise_exception('no system message') }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
REFUSES = "{{ raise_exception('never') }}[MARK]"


def tokenizer_with(*specials: str, plain: tuple[str, ...] = (), **settings: Any) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(specials))
    tokenizer.add_tokens(list(plain))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings)


@pytest.mark.parametrize(
    ("specials", "settings", "start", "end"),
    [
        # SmolLM2-Instruct, Qwen2.5-Instruct: turns are marked by what they call begin and end.
        (
            ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": CHATML},
            "<|endoftext|>",
            "<|endoftext|>",
        ),
        (
            ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            {"eos_token": "<|im_end|>", "chat_template": CHATML},
            "<|endoftext|>",
            "<|endoftext|>",
        ),
        # The same folder without its template.
        (("<|endoftext|>", "<|im_end|>"), {"eos_token": "<|im_end|>"}, "<|endoftext|>", "<|endoftext|>"),
        # Llama-3-Instruct: <|begin_of_text|> opens the first message only.
        (
            ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
            {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": LLAMA3},
            "<|begin_of_text|>",
            "<|end_of_text|>",
        ),
        (("<s>", "</s>"), {"bos_token": "<s>", "eos_token": "</s>", "chat_template": LLAMA2}, "<s>", "</s>"),
        # Zephyr closes the user's turn with </s> too, and Llama 2's vocabulary has no other end of a text.
        (
            ("<s>", "</s>", "<|user|>"),
            {"bos_token": "<s>", "eos_token": "</s>", "chat_template": ZEPHYR},
            "<s>",
            None,
        ),
        # A name that nobody published, and a template of several.
        (
            ("[BOS]", "<|endoftext|>", "[|turn|]"),
            {
                "bos_token": "[BOS]",
                "eos_token": "[|turn|]",
                "chat_template": {"default": LLAMA2, "tools": CHATML.replace("<|im_end|>", "[|turn|]")},
            },
            "[BOS]",
            "<|endoftext|>",
        ),
        # A template that takes none of our chats is read as it stands.
        (
            ("<|endoftext|>", "[MARK]"),
            {"eos_token": "[MARK]", "chat_template": REFUSES},
            "<|endoftext|>",
            "<|endoftext|>",
        ),
        (("<|endoftext|>",), {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, *["<|endoftext|>"] * 2),
        (("</s>",), {"eos_token": "</s>"}, "</s>", "</s>"),
        ((), {}, None, None),
    ],
)
def test_documents_are_framed_by_what_is_no_mark_of_a_turn(
    specials: tuple[str, ...], settings: dict[str, Any], start: str | None, end: str | None
) -> None:
    tokenizer = tokenizer_with(*specials, **settings)
    found = document_ends(tokenizer)
    assert (found.start, found.end) == (start, end)
    vocabulary = tokenizer.get_vocab()
    assert (found.start_id, found.end_id) == (vocabulary.get(start or ""), vocabulary.get(end or ""))
    assert not {start, end} & turn_marks(tokenizer)


def test_what_is_passed_over_is_told() -> None:
    tokenizer = tokenizer_with(
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        chat_template=CHATML,
    )
    opened, closed = document_ends(tokenizer).notes
    assert opened == (
        "<|im_start|>, the tokenizer's begin token, marks chat turns: <|endoftext|> opens documents instead "
        "(--document-start)."
    )
    assert closed == (
        "<|im_end|>, the tokenizer's end token, marks chat turns: <|endoftext|> closes documents instead "
        "(--document-end)."
    )
    asked = document_ends(tokenizer, "<|im_start|>", "none")
    assert (asked.start_id, asked.end_id) == (tokenizer.convert_tokens_to_ids("<|im_start|>"), None)
    assert asked.notes == ("--document-start <|im_start|>: marks chat turns, which plain text does not have.",)
    assert asked.in_words() == "Documents are opened by <|im_start|> and closed by nothing."


def test_an_added_token_that_only_looks_like_an_end_of_text_is_none() -> None:
    """Gemma 3 has </s> as a tag of HTML."""
    tokenizer = tokenizer_with(
        *("<bos>", "<eos>", "<end_of_turn>"), plain=("</s>",), bos_token="<bos>", eos_token="<end_of_turn>"
    )
    assert document_ends(tokenizer).end == "<eos>"
    tokenizer = tokenizer_with("<bos>", "<end_of_turn>", plain=("</s>",), bos_token="<bos>", eos_token="<end_of_turn>")
    assert document_ends(tokenizer).end is None


def test_a_token_that_is_not_there_is_refused() -> None:
    tokenizer = tokenizer_with("<s>", "</s>", bos_token="<s>", eos_token="</s>")
    with pytest.raises(OptionError, match=r"--document-end <eod>: is no token of .*\(<s>, </s>\), or none\."):
        document_ends(tokenizer, end="<eod>")
    assert document_ends(tokenizer, "a", "b") == DocumentEnds(start="a", end="b", start_id=0, end_id=1)
