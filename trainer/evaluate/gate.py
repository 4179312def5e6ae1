"""What was forgotten: which texts are of the base's language, and when a stage forgot too much of it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from vocabopt.errors import ForgettingError, OptionError
from vocabopt.records import Record
from vocabopt.text.scripts import dominant_script

Role: TypeAlias = Literal["target", "base"]

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


class Gate(Record, frozen=True, kw_only=True):
    """How much of the base's language a stage may have forgotten.

    Raises:
        OptionError: the share is below 0 or not a number; or there is no text to measure it on.
    """

    #: The largest relative rise in bits per byte allowed, 0.1 for 10 %; None allows any.
    max_forgetting: float | None
    #: Names of the base-language texts that it is measured on.
    texts: tuple[str, ...]
    #: The largest rise after any stage; None where not measured.
    worst: float | None = None

    def __post_init__(self) -> None:
        if self.max_forgetting is None:
            return
        if not 0 <= self.max_forgetting < float("inf"):
            raise OptionError(f"--max-forgetting {self.max_forgetting}: must be at least 0 (0.1 allows 10 %).")
        if not self.texts:
            raise OptionError(
                f"--max-forgetting {self.max_forgetting}: no text of the base's language is measured. Name one with "
                "--eval en=PATH; where the script does not tell that it is one, with --base-eval en as well."
            )

    def rise(self, before: Mapping[str, float | None], after: Mapping[str, float | None]) -> tuple[float, str] | None:
        """By what share bits per byte rose most, and on which text; below 0 where even that got better.

        None where no text was measured both times.
        """
        rises = [
            (now / then - 1, name)
            for name in self.texts
            if (then := before.get(name)) is not None and (now := after.get(name)) is not None and then > 0
        ]
        return max(rises, key=lambda found: found[0]) if rises else None

    def check(
        self, before: Mapping[str, float | None], after: Mapping[str, float | None], *, stage: str, folder: Path
    ) -> float | None:
        """The largest relative rise in bits per byte over the base-language texts; None where none was measured.

        Args:
            before, after: bits per byte by name of the text, of the base model and after the stage.
            stage: its name, for the message. folder: where its checkpoint is kept.

        Raises:
            ForgettingError: it is above `max_forgetting`.
        """
        found = self.rise(before, after)
        if found is None:
            return None
        rise, name = found
        if self.max_forgetting is not None and rise > self.max_forgetting:
            raise ForgettingError(
                f"stage {stage}: forgot more than --max-forgetting {self.max_forgetting:g} allows. Bits per byte on "
                f"{name} rose by {rise:.2%}, from {before[name]:.4f} to {after[name]:.4f}. The model after this stage "
                f"is kept in {folder}. Mix in more base-language text with --replay, lower the learning rate with "
                "--learning-rate-factor, or allow more with --max-forgetting."
            )
        return rise
