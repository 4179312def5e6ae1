"""Replay of the base's language: text that is given, or that the base model writes itself (--replay self:SHARE).

Importing this needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vocabopt.amounts import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.option_fields import Options, above_0, at_least, option

#: The name of the text that the model writes itself, and what stands for its path.
SELF, NO_PATH = "self", ""
_SELF_REPLAY = "text of the model's own (--replay self:SHARE)"


def parse_shares(given: Sequence[str], flag: str) -> dict[str, tuple[str, float]]:
    """NAME=PATH:SHARE each; name -> path and share.

    Raises:
        OptionError: one is not written so, or a name stands twice.
    """
    replays: dict[str, tuple[str, float]] = {}
    example = f"write NAME=PATH:SHARE, for example {flag} en=english.txt:0.2"
    for value in given:
        name, _, rest = value.partition("=")
        path, _, written = rest.rpartition(":")
        if not name or not path:
            raise OptionError(f"{flag} {value}: {example}.")
        _add(replays, name, path, written, f"{flag} {value}", example)
    return replays


def parse_replays(given: Sequence[str], flag: str) -> dict[str, tuple[str, float]]:
    """The same, or self:SHARE.

    Raises:
        OptionError: one is not written so, or a name stands twice.
    """
    own = [value for value in given if value.partition(":")[0] == SELF]
    replays = parse_shares([value for value in given if value not in own], flag)
    for value in own:
        example = f"for text that the model writes itself write {SELF}:SHARE, for example {flag} {SELF}:0.2"
        _add(replays, SELF, NO_PATH, value.partition(":")[2], f"{flag} {value}", example)
    return replays


def _add(replays: dict[str, tuple[str, float]], name: str, path: str, written: str, place: str, example: str) -> None:
    try:
        part = float(written)
    except ValueError as error:
        raise OptionError(f"{place}: {written!r} is no share; {example}.") from error
    if name in replays:
        raise OptionError(f"{place}: the name {name!r} is given twice. Names must differ.")
    replays[name] = path, part


def replay_place(name: str, path: str, share: float) -> str:
    """A replay as the user wrote it."""
    return f"--replay {name}{f'={path}' if path else ''}:{share:g}"


# fmt: off
@dataclass(frozen=True, kw_only=True)
class SelfReplayOptions(Options):
    """How the base model writes its own replay."""

    self_temperature: float = option(
        1.0, metavar="X", section=_SELF_REPLAY, check=above_0(),
        help="Temperature of sampling; 1 samples from the model as it is."
    )
    self_prompt_tokens: int | None = option(
        None, "--self-prompt", metavar="N", section=_SELF_REPLAY, check=at_least(0),
        default_text="none behind the start token; one where documents have none",
        help="Random tokens of the base that each document is begun with; they are no part of it."
    )
    self_text: str = option(
        "20MB", metavar="SIZE", section=_SELF_REPLAY,
        help="Bytes written at most; a share that takes more reads them several times."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.self_text_bytes

    @property
    def self_text_bytes(self) -> int:
        return parse_bytes(self.self_text, "--self-text", "20MB or 500kB")
# fmt: on
