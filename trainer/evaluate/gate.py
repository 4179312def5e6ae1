"""What was forgotten: which texts are of the base's language, and when a stage forgot too much of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from vocabopt.errors import ForgettingError, OptionError
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
    parts: list[str] = []
    n_chars = 0
    for document in documents:
        parts.append(document[: _JUDGED_CHARS - n_chars])
        n_chars += len(parts[-1])
        if n_chars >= _JUDGED_CHARS:
            break
    return "target" if dominant_script("".join(parts)) in target_scripts else "base"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How much of the base's language a stage may have forgotten.

    max_forgetting: largest relative rise in bits per byte allowed, 0.1 for 10 %; None allows any. texts: names of the
    base-language texts that it is measured on.

    Raises:
        OptionError: the share is below 0 or not a number; or there is no text to measure it on.
    """

    max_forgetting: float | None
    texts: tuple[str, ...]

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

    def worst(self, before: Mapping[str, float | None], after: Mapping[str, float | None]) -> tuple[str, float] | None:
        """The text whose bits per byte rose most, and by what share; below 0 where even it got better.

        None where no text was measured both times.
        """
        rises = [
            (now / then - 1, name)
            for name in self.texts
            if (then := before.get(name)) is not None and (now := after.get(name)) is not None and then > 0
        ]
        if not rises:
            return None
        rise, name = max(rises, key=lambda found: found[0])
        return name, rise

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
        found = self.worst(before, after)
        if found is None:
            return None
        name, rise = found
        if self.max_forgetting is not None and rise > self.max_forgetting:
            raise ForgettingError(
                f"stage {stage}: forgot more than --max-forgetting {self.max_forgetting:g} allows. Bits per byte on "
                f"{name} rose by {rise:.2%}, from {before[name]:.4f} to {after[name]:.4f}. The model after this stage "
                f"is kept in {folder}. Mix in more base-language text with --replay, lower the learning rate with "
                "--learning-rate-factor, or allow more with --max-forgetting."
            )
        return rise
