"""What opens and closes a document: the tokens around plain text in training, measuring and sampling.

An instruct model often names the marks of its chat turns as its begin and end tokens (ChatML: <|im_start|>, <|im_end|>;
Llama 3: <|eot_id|>). Around plain text they cost bits that the text does not have, and training on them teaches the
model to begin a turn. So a mark of a turn is never taken unless it is asked for.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from trainer.options import AUTO, NONE
from vocabopt.errors import OptionError
from vocabopt.training_record import DocumentEnds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: What published tokenizers end plain text with.
_TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "<eos>", "<EOS_TOKEN>", "</s>")
#: Marks of chat turns by their published names, for a folder that lost its chat template.
_TURN_MARKS = frozenset((
    "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|eom|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|header_start|>", "<|header_end|>",
    "<start_of_turn>", "<end_of_turn>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>",
    "<|start|>", "<|end|>", "<|return|>", "<|message|>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|start_of_role|>", "<|end_of_role|>", "[INST]", "[/INST]",
))  # fmt: skip
_SYSTEM, _QUESTION, _ANSWER, _SECOND = "system5207", "question5207", "answer5207", "second5207"
_CHATS = (
    (("system", _SYSTEM), ("user", _QUESTION), ("assistant", _ANSWER), ("user", _SECOND)),
    (("user", _QUESTION), ("assistant", _ANSWER), ("user", _SECOND)),
    (("user", _QUESTION),),
)


def document_ends(tokenizer: "PreTrainedTokenizerBase", start: str = AUTO, end: str = AUTO) -> DocumentEnds:
    """What opens and closes documents under a tokenizer.

    By default its begin and end tokens (without a begin token, the end token opens as well). One that marks turns of
    the chat template is passed over for a token that ends text by its published name, such as <|endoftext|>; where the
    tokenizer has none, documents have no such token.

    Args:
        start, end: as given on the command line: a token, "none", or "auto".

    Raises:
        OptionError: it is no token of the tokenizer.
    """
    marks, specials, vocabulary = turn_marks(tokenizer), _specials(tokenizer), tokenizer.get_vocab()
    text_end = next((t for t in _TEXT_ENDS if t in specials - marks and t in vocabulary), None)
    own_start, own_end = (None if t is None else str(t) for t in (tokenizer.bos_token, tokenizer.eos_token))
    closing = text_end if own_end is None or own_end in marks else own_end
    opening = closing if own_start is None or own_start in marks else own_start
    taken: list[str | None] = []
    notes = []
    for option, value, own, default in (("start", start, own_start, opening), ("end", end, own_end, closing)):
        kind, does = ("begin", "opens") if option == "start" else ("end", "closes")
        if value == AUTO and own in marks:
            notes.append(
                f"{own}, the tokenizer's {kind} token, marks chat turns: {default or 'nothing'} {does} documents "
                f"instead (--document-{option})."
            )
        elif value == AUTO and default is None:
            notes.append(f"The tokenizer has no token that {option}s documents: they have none (--document-{option}).")
        elif value in marks:
            notes.append(f"--document-{option} {value}: marks chat turns, which plain text does not have.")
        if value not in (AUTO, NONE) and value not in vocabulary:
            some = ", ".join(list(dict.fromkeys(map(str, tokenizer.all_special_tokens)))[:8])
            raise OptionError(
                f"--document-{option} {value}: is no token of {tokenizer.name_or_path or type(tokenizer).__name__}. "
                f"Name one of its tokens{f' ({some})' if some else ''}, or none."
            )
        taken.append(default if value == AUTO else None if value == NONE else value)
    ids = [None if token is None else vocabulary[token] for token in taken]
    return DocumentEnds(start=taken[0], end=taken[1], start_id=ids[0], end_id=ids[1], notes=tuple(notes))


def turn_marks(tokenizer: "PreTrainedTokenizerBase") -> frozenset[str]:
    """Special tokens that mark turns: those between a user's message and its answer, or a system message and a user's.

    What stands before the first message or behind an answer opens or ends a text (Llama 3's <|begin_of_text|>, the
    </s> of Llama 2) and is no mark of a turn.
    """
    specials, found, given = _specials(tokenizer), set(_TURN_MARKS), tokenizer.chat_template
    for template in given.values() if isinstance(given, Mapping) else [given] if given else []:
        between = list(_between_turns(tokenizer, template))
        # A template that takes none of these chats is read as it stands.
        found |= {special for special in specials if any(special in text for text in between or [template])}
    return frozenset(found)


def turn_ids(tokenizer: "PreTrainedTokenizerBase", ends: DocumentEnds) -> tuple[int, ...]:
    """Ids of tokens that mark chat turns and neither open nor close documents, ascending: plain text has none."""
    vocabulary = tokenizer.get_vocab()
    marks = {vocabulary[mark] for mark in turn_marks(tokenizer) if mark in vocabulary}
    return tuple(sorted(marks - {ends.start_id, ends.end_id}))


def _between_turns(tokenizer: "PreTrainedTokenizerBase", template: str) -> Iterable[str]:
    """The text between a question and its answer, and between a system message and the question."""
    for chat in _CHATS:
        messages = [{"role": role, "content": content} for role, content in chat]
        try:
            how: dict[str, Any] = {"chat_template": template, "tokenize": False, "add_generation_prompt": True}
            rendered = str(tokenizer.apply_chat_template(messages, **how))
        except Exception:  # a template can raise anything; many refuse a system message
            continue
        if _QUESTION not in rendered:
            continue
        if _SYSTEM in rendered:
            yield rendered.partition(_SYSTEM)[2].partition(_QUESTION)[0]
        yield rendered.partition(_QUESTION)[2].partition(_ANSWER)[0]
        if _SECOND in rendered:
            yield rendered.partition(_SECOND)[2]


def _specials(tokenizer: "PreTrainedTokenizerBase") -> set[str]:
    """Gemma's </s> is an added token too, and a tag of HTML: only those that are flagged as special count."""
    flagged = {str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return flagged | set(map(str, tokenizer.all_special_tokens))
