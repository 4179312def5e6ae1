"""Text to measure on: beginnings that a model continues before and after adaptation; whose language a text is in."""

import heapq
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
import xxhash

from trainer.document_ends import document_ends
from trainer.evaluate.score import positions_of
from trainer.init.models import eval_mode
from trainer.out_of_memory import memory_guard
from vocabopt.text.scripts import dominant_script
from vocabopt.training_record import DocumentEnds, Role

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: A few words: enough to set the subject.
PROMPT_CHARS = 40
#: Characters that a text's script is judged by.
_JUDGED_CHARS = 1 << 16
#: Has a token of its own, no bytes, in every tokenizer.
_ANCHOR = "a"


def pick_prompts(documents: Iterable[str], *, n: int = 5, seed: int = 0) -> list[str]:
    """The beginnings of `n` documents, picked by their content, whatever their order.

    A beginning ends at the last space within its first 40 characters, where there is one. Documents that leave
    nothing to go on with, equal ones and equal beginnings are left out, so there may be fewer than `n`.
    """
    hashed = {
        xxhash.xxh3_64_intdigest(document.encode(), seed=seed): document
        for document in documents
        if len(document.strip()) > PROMPT_CHARS
    }
    beginnings = []
    for key in heapq.nsmallest(4 * n, hashed):  # more than needed: some may begin alike
        head = hashed[key].strip()[: PROMPT_CHARS + 1]
        # A space as the 41st character ends a whole word of the 40 before it.
        cut = head.rfind(" ")
        beginnings.append(head[:cut].rstrip() if cut > 0 else head[:PROMPT_CHARS])
    return list(dict.fromkeys(beginnings))[:n]


@memory_guard("samples are written", lambda: "Leave them out (--samples 0), or use --precision bf16.")
def continuations(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    *,
    n_tokens: int,
    ends: DocumentEnds | None = None,
) -> list[str]:
    """What the model most likely writes after each prompt: token by token, no sampling, no penalties.

    Each prompt is opened by the start token and continued alone, so that neither the others nor the batch move the
    result; settings in generation_config.json do not either. A continuation is shorter than `n_tokens` where the model
    writes its end token or that of documents, or has no more positions.

    Args:
        ends: what opens and closes documents; None takes the tokenizer's own.

    Returns:
        The text after each prompt; its last character may be incomplete, which shows as U+FFFD.
    """
    ends = ends or document_ends(tokenizer)
    with eval_mode(model):
        return [_continued(model, tokenizer, prompt, n_tokens, ends) for prompt in prompts]


def _continued(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str, n_tokens: int, ends: DocumentEnds
) -> str:
    opening = [] if ends.start_id is None else [ends.start_id]
    given = [*opening, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    positions = positions_of(model)
    n_most = n_tokens if positions is None else min(n_tokens, positions - len(given))
    written: list[int] = []
    cache = None
    for _ in range(n_most):
        read = torch.tensor([written[-1:] if cache is not None else given], device=model.device)
        answer = model(input_ids=read, past_key_values=cache, use_cache=True)
        token = int(answer.logits[0, -1].argmax())
        if token in (tokenizer.eos_token_id, ends.end_id):
            break
        written.append(token)
        # A model without a cache reads all of it each time.
        cache = getattr(answer, "past_key_values", None)
        given.append(token)
    # Decoded alone, the first token would lose its space. Not behind the prompt's own ids: where those end in byte
    # tokens and broken ones follow, decoders with byte fallback give up both.
    anchor = tokenizer(_ANCHOR, add_special_tokens=False)["input_ids"]
    head, whole = (
        str(tokenizer.decode(part, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        for part in (anchor, anchor + written)
    )
    return whole.removeprefix(head)


def role_of_text(documents: Iterable[str], target_scripts: Sequence[str] | None) -> Role:
    """Whether an evaluation text is of the target language, by its dominant script.

    A text in a script of the target is "target"; any other is "base", also code, other languages and text without
    letters: they are what adaptation should leave as it was. Where the target has no script of its own (Latin targets:
    None or empty), no script tells Finnish from English: every text is "target" but those that the user names as base.

    Args:
        documents: the first 65,536 characters are looked at.
        target_scripts: names as `parse_scripts` gives them.
    """
    if not target_scripts:
        return "target"
    text = ""
    for document in documents:
        text += document[: _JUDGED_CHARS - len(text)]
        if len(text) >= _JUDGED_CHARS:
            break
    return "target" if dominant_script(text) in target_scripts else "base"
