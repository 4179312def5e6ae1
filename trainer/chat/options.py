"""The options of `vocabopt chat-vector`. Importing this needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from vocabopt.amounts import parse_bytes
from vocabopt.option_fields import above_0, argument, at_least, one_of, option
from vocabopt.options import ReadingOptions

#: Which rows of the tables the difference is added to; see `trainer.chat.vector`.
Rows: TypeAlias = Literal["all", "old", "special"]
_MEASURING = "measuring"


# fmt: off
@dataclass(frozen=True, kw_only=True)
class ChatVectorOptions(ReadingOptions):
    """Everything that moves the result of `vocabopt chat-vector`. base, instruct: folders or hub ids."""

    adapted: Path = argument(metavar="ADAPTED")
    base: str = option(metavar="MODEL", daily=True, help="The model that ADAPTED was adapted from.")
    instruct: str = option(metavar="MODEL", daily=True, help="The instruct model that was trained from that base.")
    out: Path = option(metavar="DIR", daily=True, help="Folder of the new model.")
    texts: Mapping[str, str] = option(
        dict, "--text", metavar="NAME=PATH", daily=True,
        help="Text to measure bits per byte on, before and after; may be repeated."
    )
    rows: Rows = option(
        "old", daily=True, check=one_of(get_args(Rows), "choose"),
        help="Rows of the tables that the difference is added to. old: those of the base's tokens. all: to a new "
        "token's too the mean of its base tokens' differences. special: none; the rows of special tokens alone are the "
        "instruct model's, which they are in all three."
    )
    scale: float = option(
        1.0, metavar="X", daily=True, check=above_0(), help="Factor on the difference; 1 adds all of it."
    )
    limit_bytes: int = option(
        200_000, "--limit", metavar="SIZE", section=_MEASURING, default_text="200kB", check=at_least(1),
        parse=lambda value, flag: parse_bytes(value, flag, "1MB, 200kB or 500000"),
        help="Measure on the first so many bytes of each text."
    )
    batch_size: int = option(
        8, "--batch", metavar="N", section=_MEASURING, check=at_least(1), help="Windows at once."
    )
    device: str = option(
        "auto", metavar="DEVICE", section=_MEASURING, help="Device to measure on: cpu, cuda, cuda:1, mps."
    )
# fmt: on
