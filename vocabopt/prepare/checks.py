"""Checks of a step's options, with one wording: `[length] min_chars -3: must be at least 0.`"""

from collections.abc import Sequence

from vocabopt.errors import OptionError


def refuse(step: str, option: str, value: object, what: str) -> OptionError:
    """The error to raise for an option's value; `what` says what is wrong and what to write instead."""
    return OptionError(f"[{step}] {option} {value}: {what}")


def check_count(step: str, option: str, value: int | None, *, lowest: int = 0) -> None:
    """A whole number of at least `lowest`, or None. Raises OptionError otherwise."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(step, option, value, "must be a whole number.")
    if value < lowest:
        raise refuse(step, option, value, f"must be at least {lowest}.")


def check_number(step: str, option: str, value: float | None, *, lowest: float = 0) -> None:
    """A number of at least `lowest`, or None. Raises OptionError otherwise."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= lowest:
        raise refuse(step, option, value, f"must be a number, at least {lowest:g}.")


def check_share(step: str, option: str, value: float | None) -> None:
    """A number from 0 to 1, or None. Raises OptionError otherwise."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise refuse(step, option, value, "must be a share, a number from 0 to 1.")


def check_flag(step: str, option: str, value: bool) -> None:
    """True or False. Raises OptionError otherwise."""
    if not isinstance(value, bool):
        raise refuse(step, option, value, "must be true or false.")


def check_choice(step: str, option: str, value: str, choices: Sequence[str]) -> None:
    """One of the choices. Raises OptionError otherwise."""
    if value not in choices:
        raise refuse(step, option, value, f"must be one of {', '.join(choices)}.")


def check_order(step: str, lower: str, low: float | None, upper: str, high: float | None) -> None:
    """Where both bounds are given, the lower is not above the upper. Raises OptionError otherwise."""
    if low is not None and high is not None and low > high:
        raise refuse(step, lower, low, f"must not be above {upper}, which is {high}.")
