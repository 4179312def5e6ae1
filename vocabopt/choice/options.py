"""What moves a recommendation: the options of `vocabopt choose`, stored in sweep.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from vocabopt.amounts import parse_bytes as parse_bytes
from vocabopt.amounts import parse_tokens as parse_tokens
from vocabopt.amounts import parse_window as parse_window
from vocabopt.errors import OptionError
from vocabopt.option_fields import Options, at_least, from_to, option, share

DecidingRule: TypeAlias = Literal["knee", "measured"]

#: The paper's window, in added tokens.
DEFAULT_WINDOW = (8_000, 40_000)

_COST, _RULES, _RESAMPLES = "cost of training and serving", "rules", "knee and its interval"
_NOT_STATED = "not stated"
_SHARE = share(" (0.95 is 95 %)")


@dataclass(frozen=True, kw_only=True)
class ChoiceOptions(Options):
    """Everything that moves the choice of a size on a given curve.

    window, text_set: None takes the default that --help states. bytes_per_param_train: 16 is mixed precision with AdamW
    (weights 2, gradients 2, master weights 4, moments 8).
    """

    # fmt: off
    window: tuple[int, int] | None = option(
        None, metavar="START:STOP", parse=parse_window, daily=True,
        help="Added tokens between which the knee is sought.",
        default_text="8000:40000, or the last four fifths of a shorter curve",
    )
    text_set: str | None = option(
        None, "--set", metavar="SET", daily=True, help="Text set to decide on.", default_text="heldout"
    )
    decide_by: Literal["sum", "worst"] | None = option(
        None, daily=True, default_text="worst for a sweep with --balance parity, else sum",
        help="Of several targets: decide on the sum of their held-out text, each target's times its weight, or on that "
        "of the target served worst."
    )
    train_tokens: int | None = option(
        None, metavar="N", parse=parse_tokens, daily=True, default_text=_NOT_STATED,
        help="Planned training text, in tokens of the base: 10B, 500M.",
    )
    serve_tokens: int | None = option(
        None, metavar="N", parse=parse_tokens, daily=True, default_text=_NOT_STATED,
        help="Text to be read and written in use, in tokens of the base.",
    )
    context_tokens: int = option(
        4_096, check=at_least(1), section=_COST, help="Tokens of a training sequence, and of a served text."
    )
    min_exposure: int = option(
        1_000, check=at_least(1), section=_RULES, help="Times that each token is to be seen in training."
    )
    careful_exposure: int = option(100_000, check=at_least(1), section=_RULES, help="The same, for the careful.")
    used_share: float = option(
        0.95, check=_SHARE, section=_RULES, help="Share of the added tokens that held-out text is to use."
    )
    marginal_step: int = option(1_024, check=at_least(1), section=_RULES, help="The next so many tokens ...")
    marginal_share: float = option(
        0.01, check=_SHARE, section=_RULES, help="... are to save this share of the base's count."
    )
    train_memory_bytes: int | None = option(
        None, "--train-memory", metavar="SIZE", parse=parse_bytes, daily=True, default_text=_NOT_STATED,
        help="Memory to train in: 80GB, 640GiB.",
    )
    serve_memory_bytes: int | None = option(
        None, "--serve-memory", metavar="SIZE", parse=parse_bytes, daily=True, default_text=_NOT_STATED,
        help="Memory to serve in.",
    )
    batch_tokens: int = option(
        8_192, check=at_least(1), section=_COST, help="Tokens whose logits a training step holds."
    )
    serve_batch: int = option(1, check=at_least(1), section=_COST, help="Texts served at once.")
    bytes_per_param_train: int = option(
        16, check=at_least(1), section=_COST, help="Bytes of a weight, its gradient and its optimizer state (AdamW)."
    )
    bytes_per_param_serve: int = option(2, check=at_least(1), section=_COST, help="Bytes of a weight in use.")
    row_multiple: int = option(128, check=at_least(1), section=_RULES, help="Total rows are rounded to a multiple.")
    kneedle_sensitivity: float = option(1.0, section=_RESAMPLES, help="S of Kneedle.")
    kneedle_points: int = option(33, section=_RESAMPLES, help="Even sizes of the window that Kneedle looks at.")
    interval_share: float = option(
        0.9, "--interval", check=_SHARE, section=_RESAMPLES, help="Share of resamples in the interval."
    )
    n_resamples: int = option(
        1_000, "--resamples", check=from_to(0, 100_000, "0 (no interval) and 100,000"), section=_RESAMPLES,
        help="Times the documents are resampled.",
    )
    seed: int = option(
        0, check=from_to(0, 2**64 - 1, "0 and 2**64 - 1"), section=_RESAMPLES, help="Draws other resamples."
    )
    # fmt: on

    def __post_init__(self) -> None:
        if self.window is not None and not 0 <= self.window[0] < self.window[1]:
            raise OptionError(
                f"--window {self.window[0]}:{self.window[1]}: needs two sizes, the first at least 0 and below the "
                "second. Write it as 8000:40000."
            )
        if self.kneedle_points < 3 or not 0 <= self.kneedle_sensitivity < float("inf"):
            raise OptionError(
                f"--kneedle-points {self.kneedle_points}, --kneedle-sensitivity {self.kneedle_sensitivity}: needs at "
                "least 3 points, and a finite sensitivity of 0 or more."
            )
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class RuleOptions(Options):
    """Which rule decides; the choice says which did, so sweep.json does not keep these."""

    # fmt: off
    rule: DecidingRule | None = option(
        None, daily=True, default_text="measured where a probe of sizes was taken, else knee",
        help="Rule that decides; what holds it back stays the same."
    )
    probe: Path | None = option(
        None, metavar="DIR", daily=True, default_text="the one taken before",
        help="Folder of `vocabopt probe --sizes`, whose sizes.json is copied into the run."
    )
    # fmt: on
