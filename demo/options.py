"""The options of a demo base, stored with the base."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from trainer.replay_options import parse_shares
from vocabopt.errors import OptionError
from vocabopt.option_fields import Check, above_0, at_least, from_to, one_of, option, share_from_0
from vocabopt.options import TextOptions

Family: TypeAlias = Literal["llama", "gpt2", "qwen2", "gpt-neox"]
Precision: TypeAlias = Literal["fp32", "bf16-mixed"]
#: As SentencePiece advises for large alphabets.
CHARACTER_COVERAGE = 0.9995
FAMILIES: tuple[Family, ...] = get_args(Family)

#: Options that say where and how it is computed, not what: the same base, but for the rounding of sums. What was mixed
#: in, and how much, is in the hash of the text.
IDLE_OPTIONS = frozenset(("device", "paths", "mixes", "eval_bytes"))


# fmt: off
@dataclass(frozen=True, kw_only=True)
class DemoOptions(TextOptions):
    """Everything that moves the result. The defaults are the best that reports/LOG.md found for corpus/en in 150 s.

    seed: also picks the held-out documents. vocab_size: special and byte tokens included. steps: fixed, never by the
    clock, so that the base is the same on every machine. learning_rate: rises for 5 % of the steps and falls on a
    cosine to a tenth. dropout: share of numbers set to 0 behind the embedding and behind each half of a block.
    threads: the same sums need as many; two threads that share their cores with other work were slower than one.
    """

    paths: tuple[str, ...] = option(
        ("corpus/en",), "--text", metavar="PATH", daily=True,
        help="Text to learn from: files or folders; may be repeated."
    )
    mixes: Mapping[str, tuple[str, float]] = option(
        dict, "--mix", metavar="NAME=PATH:SHARE", parse=parse_shares, daily=True,
        help="Text of another language beside it, and its share of all bytes, as ko=korean.txt:0.1; may be repeated."
    )
    heldout: float = option(
        0.05, daily=True, help="Share of documents held out.",
        check=Check(lambda value: 0 < value < 1, "must lie between 0 and 1 (0.05 holds out 5 %)")
    )
    seed: int = option(0, daily=True, check=at_least(0), help="Seed of weights, order and held-out documents.")
    vocab_size: int = option(
        2_000, daily=True, check=at_least(300, ": 259 are special and byte tokens"), help="Tokens of the tokenizer."
    )
    character_coverage: float = option(
        CHARACTER_COVERAGE, check=from_to(0.98, 1.0, "0.98 and 1, as SentencePiece takes it"),
        help="Share of the characters that the tokenizer has pieces for; rarer ones are spelled in bytes. A text that "
        "is mixed in has few pieces where it is lower."
    )
    family: Family = option("llama", daily=True, check=one_of(FAMILIES, "choose"), help="Architecture of the model.")
    width: int = option(192, daily=True, help="Width of the model's residual stream.")
    n_blocks: int = option(4, "--blocks", daily=True, check=at_least(1), help="Transformer blocks.")
    n_heads: int = option(3, "--heads", daily=True, help="Attention heads of a block.")
    tied: bool = option(False, "--tied/--untied", daily=True, help="One table for input and output, or two.")
    context_tokens: int = option(
        256, "--context", daily=True, check=at_least(8, " tokens"), help="Tokens of a sequence."
    )
    batch: int = option(4, daily=True, check=at_least(1), help="Sequences of a step.")
    steps: int = option(500, daily=True, check=at_least(1), help="Steps, whatever time they take.")
    learning_rate: float = option(2e-3, check=above_0(), help="The highest learning rate.")
    weight_decay: float = option(0.1, check=at_least(0), help="Weight decay of AdamW.")
    dropout: float = option(0.2, check=share_from_0(), help="Dropout, in training only.")
    eval_every: int = option(
        100, metavar="STEPS", check=at_least(1, " step"), help="Steps between two measurements on held-out text."
    )
    eval_bytes: int = option(200_000, check=at_least(1), help="Bytes of the held-out text to measure on.")
    precision: Precision = option(
        "fp32", check=one_of(get_args(Precision), "choose"), help="Weights in 32 bits; products in 32 or in 16."
    )
    device: str = option("auto", help="Device: auto, cpu, cuda, cuda:1 ...")
    threads: int = option(1, check=at_least(1), help="Threads of torch on the CPU.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (path, part) in self.mixes.items():
            if not 0 < part < 1:
                raise OptionError(f"--mix {name}={path}:{part:g}: the share must lie between 0 and 1, as 0.1 does.")
        if sum(part for _, part in self.mixes.values()) >= 1 - 1e-9:
            raise OptionError("--mix: the shares leave nothing for --text. Let them add up to less than 1.")
        if self.n_heads < 1 or self.width % (2 * self.n_heads):
            raise OptionError(
                f"--heads {self.n_heads}: must divide --width {self.width} into parts of an even length, for rotary "
                "positions."
            )

    def identity(self) -> dict[str, Any]:
        """What the base depends on, its text apart."""
        # Bases made before there was this option had its default.
        idle = IDLE_OPTIONS | ({"character_coverage"} if self.character_coverage == CHARACTER_COVERAGE else set())
        return {name: value for name, value in self.as_record().items() if name not in idle}
# fmt: on
