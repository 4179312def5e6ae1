"""What moves a recommendation: one home for every default, checked when made, stored in sweep.json."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from vocabopt.errors import OptionError

#: The paper's window, in added tokens.
DEFAULT_WINDOW = (8_000, 40_000)

_MULTIPLES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_BYTE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True, kw_only=True)
class ChoiceOptions:
    """Everything that moves the choice of a size on a given curve.

    window: of the knee, in added tokens; None for the paper's, or a fifth of a shorter curve's end to its end.
    text_set: the set to decide on; None for held-out text. train_tokens, serve_tokens: how much text the adapted model
    will be trained on and will read and write, in tokens of the base tokenizer. context_tokens: length of a training
    sequence, and of a served text in tokens of the base. min_exposure, careful_exposure: occurrences in training.
    used_share: of added tokens in held-out text. marginal_step, marginal_share: the next so many tokens save less than
    that share of the base's count. train_memory_bytes, serve_memory_bytes: budgets. batch_tokens: in one training
    step's logits. serve_batch: texts served at once. bytes_per_param_train: 16 is mixed precision with AdamW (weights
    2, gradients 2, master weights 4, moments 8). row_multiple: total rows are rounded to it. kneedle_sensitivity,
    kneedle_points: S, and at how many even sizes of the window Kneedle looks. interval_share, n_resamples, seed: of
    the interval.
    """

    window: tuple[int, int] | None = None
    text_set: str | None = None
    train_tokens: int | None = None
    serve_tokens: int | None = None
    context_tokens: int = 4_096
    min_exposure: int = 1_000
    careful_exposure: int = 100_000
    used_share: float = 0.95
    marginal_step: int = 1_024
    marginal_share: float = 0.01
    train_memory_bytes: int | None = None
    serve_memory_bytes: int | None = None
    batch_tokens: int = 8_192
    serve_batch: int = 1
    bytes_per_param_train: int = 16
    bytes_per_param_serve: int = 2
    row_multiple: int = 128
    kneedle_sensitivity: float = 1.0
    kneedle_points: int = 33
    interval_share: float = 0.9
    n_resamples: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.window is not None and not 0 <= self.window[0] < self.window[1]:
            raise OptionError(
                f"--window {self.window[0]}:{self.window[1]}: needs two sizes, the first at least 0 and below the "
                "second. Write it as 8000:40000."
            )
        for option, share in (
            ("used-share", self.used_share),
            ("marginal-share", self.marginal_share),
            ("interval", self.interval_share),
        ):
            if not 0 < share < 1:
                raise OptionError(f"--{option} {share}: must be above 0 and below 1 (0.95 is 95 %).")
        for name in (
            "context_tokens", "min_exposure", "careful_exposure", "marginal_step", "batch_tokens", "serve_batch",
            "bytes_per_param_train", "bytes_per_param_serve", "row_multiple",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise OptionError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least 1.")
        if not 0 <= self.n_resamples <= 100_000:
            raise OptionError(f"--resamples {self.n_resamples}: must be between 0 (no interval) and 100,000.")
        if self.kneedle_points < 3 or not 0 <= self.kneedle_sensitivity < float("inf"):
            raise OptionError(
                f"--kneedle-points {self.kneedle_points}, --kneedle-sensitivity {self.kneedle_sensitivity}: needs at "
                "least 3 points, and a finite sensitivity of 0 or more."
            )
        if not 0 <= self.seed < 2**64:
            raise OptionError(f"--seed {self.seed}: must be between 0 and 2**64 - 1.")

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "window": list(self.window) if self.window else None}


def parse_window(value: str) -> tuple[int, int]:
    """`8000:40000` as two sizes. Raises OptionError."""
    match = re.fullmatch(r"(\d[\d_,]*)(?::|\.\.)(\d[\d_,]*)", value.strip())
    if match is None:
        raise OptionError(f"--window {value}: write two sizes in added tokens as 8000:40000.")
    start, end = (int(re.sub(r"[_,]", "", part)) for part in match.groups())
    return start, end


def parse_tokens(value: str, option: str) -> int:
    """`10B`, `1.5T`, `500M` or a plain number, as tokens. Raises OptionError."""
    return _quantity(value, option, _MULTIPLES, "10B, 500M or 2000000")


def parse_bytes(value: str, option: str, examples: str = "80GB, 24GiB or 80000000000") -> int:
    """`80GB`, `24GiB` or a plain number of bytes. Raises OptionError, with examples that suit the option."""
    return _quantity(value, option, {"": 1, **_BYTE_UNITS}, examples)


def _quantity(value: str, option: str, units: dict[str, int], examples: str) -> int:
    match = re.fullmatch(r"(\d[\d_,]*(?:\.\d+)?)\s*([A-Za-z]*)", value.strip())
    unit = None if match is None else units.get(match[2].upper())
    number = 0.0 if match is None or unit is None else float(re.sub(r"[_,]", "", match[1])) * unit
    if not 1 <= number < 1e18:
        raise OptionError(f"{option} {value}: write a number of at least 1, such as {examples}.")
    return round(number)
