"""Which texts are of the base's language: the gate watches what of them is forgotten."""

from collections.abc import Iterable, Sequence

from vocabopt.text.scripts import dominant_script
from vocabopt.training_record import Role

#: Characters that a text's script is judged by.
_JUDGED_CHARS = 1 << 16


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
