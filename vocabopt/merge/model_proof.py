"""What is proved of a merged tokenizer.model before it is written: it encodes as the merged tokenizer.json (P6)."""

from collections.abc import Iterable
from itertools import chain

from vocabopt.errors import PromiseError
from vocabopt.merge.addition import Addition
from vocabopt.tokenizer import Base
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.tokenizer.model_check import Difference, differences, foreign_tokens


def prove_model(base: Base, merged: Base, addition: Addition, model: bytes, texts: Iterable[str]) -> str | None:
    """Compare on the built-in hard text, the new pieces' own text, and `texts`.

    Where the base's two files differ themselves, the merged ones may, on the same text and by none of the new tokens.

    Args:
        model: the merged tokenizer.model.

    Returns:
        A sentence on such text, with an example; None where there is none.

    Raises:
        PromiseError: another text is encoded otherwise.
    """
    own = (text.decode(errors="ignore") for text in addition.texts)
    foreign = foreign_tokens(base)
    judged = [text for text in chain(hard_strings(), own, texts) if not any(token in text for token in foreign)]
    found = [*differences(merged.full, model, judged)]
    excused = {} if base.written == "tokenizer.model" else _of_base(base, [difference.text for difference in found])
    new = {*addition.pieces}
    for difference in found:
        one, other = ([piece for piece in side if piece in new] for side in (difference.by_model, difference.by_json))
        if difference.text not in excused or one != other:
            raise PromiseError(
                f"{base.name} with {addition.n_added:,} added tokens: its tokenizer.model is not its tokenizer.json: "
                f"{difference.told()}. Nothing was written; {_next_step(base)}."
            )
    if not found:
        return None
    return (
        f"{base.name}: its tokenizer.model is not its tokenizer.json ({excused[found[0].text].told()}), so the merged "
        f"ones differ as well, on {len(found):,} of {len(judged):,} texts, by no new token. What is counted is "
        "tokenizer.json."
    )


def _next_step(base: Base) -> str:
    if base.written == "tokenizer.model":
        return "please report this with the base"
    return "pass the base's tokenizer.json alone, which is what is grown, or its tokenizer.model alone"


def _of_base(base: Base, texts: list[str]) -> dict[str, Difference]:
    assert base.sentencepiece_model is not None
    return {found.text: found for found in differences(base.full, base.sentencepiece_model, texts)}
