"""The options of a demo base: one home for every default, checked when made, stored with the base."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from vocabopt.errors import OptionError
from vocabopt.text.reading import ReadOptions, TextFormat

Family: TypeAlias = Literal["llama", "gpt2", "qwen2", "gpt-neox"]
Precision: TypeAlias = Literal["fp32", "bf16-mixed"]
FAMILIES: tuple[Family, ...] = ("llama", "gpt2", "qwen2", "gpt-neox")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16-mixed")

#: Options that say where and how it is computed, not what: the same base, but for the rounding of sums.
IDLE_OPTIONS = frozenset(("device", "paths", "eval_bytes"))


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Everything that moves the result. The defaults are the best that reports/LOG.md found for corpus/en in 150 s.

    paths: text to learn from. heldout, seed: which of its documents are measured on instead, by content, as in a sweep;
    the seed also draws weights and order. vocab_size: tokens of the tokenizer, special and byte tokens included.
    family: of the model. width, n_blocks, n_heads: its shape; tied: one table for input and output.
    context_tokens: of one block of text; batch: blocks of a step. steps: fixed, never by the clock, so that the base is
    the same on every machine. learning_rate: the highest; it rises for 5 % of the steps and falls on a cosine to a
    tenth. dropout: share of numbers set to 0 behind the embedding and behind each half of a block, in training only.
    eval_every: steps between two measurements on the held-out text; of it `eval_bytes` are read. threads: of torch on
    the CPU, whatever the machine has: sums are the same only with as many, and two threads that share their cores with
    other work were slower than one.
    """

    paths: tuple[str, ...] = ("corpus/en",)
    heldout: float = 0.05
    seed: int = 0
    vocab_size: int = 2_000
    family: Family = "llama"
    width: int = 192
    n_blocks: int = 4
    n_heads: int = 3
    tied: bool = False
    context_tokens: int = 256
    batch: int = 4
    steps: int = 500
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.2
    eval_every: int = 100
    eval_bytes: int = 200_000
    precision: Precision = "fp32"
    device: str = "auto"
    threads: int = 1
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    format: TextFormat = "auto"

    def __post_init__(self) -> None:
        for option, value, holds, what in self._checks():
            if not holds(value):
                raise OptionError(f"{option} {value}: {what}.")

    def _checks(self) -> tuple[tuple[str, Any, Callable[[Any], bool], str], ...]:
        def at_least(least: int) -> Callable[[Any], bool]:
            return lambda value: bool(value >= least)

        heads = f"must divide --width {self.width} into parts of an even length, for rotary positions"
        return (
            ("--heldout", self.heldout, lambda share: 0 < share < 1, "must lie between 0 and 1 (0.05 holds out 5 %)"),
            ("--seed", self.seed, at_least(0), "must be at least 0"),
            ("--vocab-size", self.vocab_size, at_least(300), "must be at least 300: 259 are special and byte tokens"),
            ("--family", self.family, lambda name: name in FAMILIES, f"choose {', '.join(FAMILIES)}"),
            ("--precision", self.precision, lambda name: name in PRECISIONS, f"choose {', '.join(PRECISIONS)}"),
            ("--blocks", self.n_blocks, at_least(1), "must be at least 1"),
            ("--heads", self.n_heads, lambda n: n >= 1 and self.width % (2 * n) == 0, heads),
            ("--context", self.context_tokens, at_least(8), "must be at least 8 tokens"),
            ("--batch", self.batch, at_least(1), "must be at least 1"),
            ("--steps", self.steps, at_least(1), "must be at least 1"),
            ("--learning-rate", self.learning_rate, lambda rate: rate > 0, "must be above 0"),
            ("--weight-decay", self.weight_decay, at_least(0), "must be at least 0"),
            ("--dropout", self.dropout, lambda share: 0 <= share < 1, "must be at least 0 and below 1"),
            ("--threads", self.threads, at_least(1), "must be at least 1"),
            ("--eval-every", self.eval_every, at_least(1), "must be at least 1 step"),
            ("--eval-bytes", self.eval_bytes, at_least(1), "must be at least 1"),
        )

    def read_options(self) -> ReadOptions:
        """The part that says how text is read."""
        return ReadOptions(unit=self.unit, column=self.column, encoding=self.encoding, format=self.format)

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "paths": list(self.paths)}

    def identity(self) -> dict[str, Any]:
        """What the base depends on, its text apart."""
        return {name: value for name, value in self.as_record().items() if name not in IDLE_OPTIONS}
