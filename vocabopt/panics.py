"""Panics: how a library written in Rust fails where its authors saw no failure. They are no `Exception` of Python's.

The library itself writes what happened and where in its code to standard error, before Python hears of it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vocabopt.errors import BaseTokenizerError, quoted
from vocabopt.stops import end_if_stopped, heard

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

#: Characters of a document that a message shows.
_SHOWN_CHARS = 80


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic. Each library has a class of its own for them, which no module holds.

    Once a signal was heard none is one: it may be what the library made of the signal.
    """
    return heard() is None and any(kind.__name__ == "PanicException" for kind in type(error).__mro__)


def is_failure(error: BaseException) -> bool:
    """Whether an error says that the work failed: any `Exception` and a panic, but not Ctrl-C or an exit.

    Once a signal was heard none does.
    """
    return heard() is None and (isinstance(error, Exception) or is_panic(error))


def encoded(
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    source: str,
    *,
    add_special_tokens: bool = False,
    with_offsets: bool = False,
) -> "list[Encoding]":
    """The texts encoded by the `tokenizers` library.

    Args:
        source: what the tokenizer is, for the message.

    Raises:
        BaseTokenizerError: the library panics on a text; the message shows the first such text.
    """
    encode = tokenizer.encode_batch if with_offsets else tokenizer.encode_batch_fast
    try:
        return encode(list(texts), add_special_tokens=add_special_tokens)
    except BaseException as error:
        end_if_stopped(error)
        if not is_panic(error):
            raise
        for text in texts:
            try:
                tokenizer.encode(text, add_special_tokens=add_special_tokens)
            except BaseException as alone:
                if not is_panic(alone):
                    raise
                raise cannot_encode(text, source, alone) from alone
        raise


def cannot_encode(text: str, source: str, error: BaseException) -> BaseTokenizerError:
    """What to say of a text on which the library fails."""
    told = f"{source}: with it the tokenizers library cannot encode the text {quoted(text, _SHOWN_CHARS)} ({error})"
    if "AddedVocabulary" in str(error):
        # A token that takes the white space after it (rstrip), and in it another.
        return BaseTokenizerError(
            f"{told}: one of its added tokens takes in white space that holds another. Remove lstrip and rstrip from "
            "its added tokens, or such text."
        )
    return BaseTokenizerError(f"{told}. Use another tokenizer, or leave such text out.")
