"""How new rows are made beside the method: options that `adapt`, `probe` and `init` share. Importing this needs no
torch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from vocabopt.amounts import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.option_fields import Options, above_0, at_least, one_of, option

CalibratedTables: TypeAlias = Literal["none", "input", "output", "both"]

_ROWS, _LEARNED = "new rows", "rows learned from text (distill)"


# fmt: off
@dataclass(frozen=True, kw_only=True)
class RowOptions(Options):
    """The norm of new rows, and how those of the method distill are learned.

    Snippets of 50 tokens, 25 of each new token, 16 at once, the last layer and one pass over them are the recipe of
    Token Distillation (arXiv 2505.20133).
    """

    match_norm: bool = option(
        False, section=_ROWS,
        help="Rescale new rows to the norm of the rows they are made of; on a tied model compare first, by probe."
    )
    calibrate_norms: CalibratedTables = option(
        "none", section=_ROWS, check=one_of(get_args(CalibratedTables), "choose"),
        help="Table in which every new row gets the median norm of base rows whose text has about as many bytes."
    )
    distill_text: str = option(
        "10MB", metavar="SIZE", section=_LEARNED,
        help="Bytes read of the target text at most, for snippets that hold new tokens."
    )
    distill_snippets: int = option(
        25, metavar="N", section=_LEARNED, check=at_least(1), help="Snippets wanted of every new token."
    )
    distill_length: int = option(
        50, metavar="TOKENS", section=_LEARNED, check=at_least(2), help="Tokens of a snippet."
    )
    distill_steps: int | None = option(
        None, metavar="N", section=_LEARNED, check=at_least(1), default_text="every snippet once", help="Steps."
    )
    distill_batch: int = option(16, metavar="N", section=_LEARNED, check=at_least(1), help="Snippets of a step.")
    distill_rate: float = option(
        0.1, metavar="X", section=_LEARNED, check=above_0(),
        help="Highest learning rate, in standard deviations of the base's rows; it falls to 0."
    )
    distill_layer: int | None = option(
        None, metavar="N", section=_LEARNED, check=at_least(1), default_text="the last, behind the last norm",
        help="Block whose output is matched, from 1."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.match_norm and self.calibrate_norms != "none":
            raise OptionError(
                f"--match-norm and --calibrate-norms {self.calibrate_norms}: both set the norm of new rows. Leave one "
                "out."
            )
        _ = self.distill_text_bytes

    @property
    def distill_text_bytes(self) -> int:
        return parse_bytes(self.distill_text, "--distill-text", "10MB or 500kB")

    def check_layer(self, n_blocks: int, model: str) -> None:
        """Raises OptionError: the model has fewer blocks than --distill-layer."""
        if self.distill_layer is not None and self.distill_layer > n_blocks:
            raise OptionError(
                f"--distill-layer {self.distill_layer}: {model} has {n_blocks} blocks. Name one from 1 to {n_blocks}, "
                "or leave it out for the last."
            )
# fmt: on
