"""The options of the commands that measure models: `eval`, `probe --sizes` and `prepare --compare`.

Importing this needs no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainer.options import AUTO, INIT_METHODS, AnyPrecision, InitMethod, ProbeRunOptions
from vocabopt.amounts import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.option_fields import above_0, argument, at_least, option
from vocabopt.options import ReadingOptions
from vocabopt.preparation.options import CleaningOptions, step_records

if TYPE_CHECKING:
    from vocabopt.preparation.step import Step

#: Tokens of a window of `eval`, likewise: longer ones move bits per byte little, and cost memory.
DEFAULT_EVAL_CONTEXT = 2_048
_MEASURING = "measuring"


# fmt: off
@dataclass(frozen=True, kw_only=True)
class EvalOptions(ReadingOptions):
    """Everything that moves the result of an evaluation. context_tokens, stride: of the windows, see `score_text`."""

    model: str = argument(metavar="MODEL")
    texts: Mapping[str, str] = option(
        dict, "--text", metavar="NAME=PATH", daily=True,
        help="Text to score, best held out of training; may be repeated."
    )
    limit_bytes: int | None = option(
        None, "--limit", metavar="SIZE", check=at_least(1), daily=True,
        parse=lambda value, flag: parse_bytes(value, flag, "1MB, 200kB or 500000"),
        help="Score only the first so many bytes of each text, as 1MB; its last document is taken whole."
    )
    tasks: tuple[str, ...] = option(
        (), metavar="NAME[,NAME]", daily=True,
        parse=lambda value, flag: tuple(name.strip() for name in value.split(",")),
        help="Benchmarks through lm-eval: kobest (or one of it: kobest_copa), piqa, blimp."
    )
    tasks_data: tuple[Path, ...] = option(
        (), metavar="DIR", daily=True, help="Folder with their files; may be repeated. Nothing is downloaded."
    )
    tasks_limit: int | None = option(
        None, metavar="N", daily=True, check=at_least(1), help="Items of each benchmark, the first ones."
    )
    context_tokens: int | None = option(
        None, "--context", metavar="N", section=_MEASURING, help="Tokens of a window, its start token included.",
        default_text="2048, or the model's positions where fewer"
    )
    stride: int | None = option(
        None, metavar="N", section=_MEASURING, default_text="no overlap",
        help="Tokens that each further window of a long document adds, after repeated ones."
    )
    document_start: str = option(
        AUTO, metavar="TOKEN|none", section=_MEASURING,
        help="Token that opens a document. auto: the tokenizer's own, but never one that marks turns of a chat."
    )
    batch_size: int = option(
        8, "--batch", metavar="N", section=_MEASURING, check=at_least(1), help="Windows, or choices, at once."
    )
    tokenizer: str | None = option(
        None, metavar="TOK", section=_MEASURING, default_text="the model's", help="Another folder's tokenizer."
    )
    device: str = option(
        "auto", metavar="DEVICE", section=_MEASURING, help="Device to compute on: cpu, cuda, cuda:1, mps."
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", section=_MEASURING, help="Type of the weights; auto: bf16 on a GPU that computes in it, else fp32."
    )

    def __post_init__(self) -> None:
        from trainer.evaluate.tasks import GROUPS, chosen_tasks

        if not self.texts and not self.tasks:
            raise OptionError(
                "Nothing to measure. Name text with --text NAME=PATH, for example --text ko=korean.txt, or benchmarks "
                f"with --tasks ({', '.join(GROUPS)})."
            )
        super().__post_init__()
        chosen_tasks(self.tasks)
        if self.tasks and not self.tasks_data:
            raise OptionError(
                f"--tasks {','.join(self.tasks)}: is read from local files. Name their folder with --tasks-data DIR."
            )
        if self.tasks_data and not self.tasks:
            raise OptionError(f"--tasks-data {self.tasks_data[0]}: names data of no task. Name the task with --tasks.")


_SIZES = "With --sizes: "


def _sizes(value: str, flag: str) -> tuple[int, ...]:
    """0, the original tokenizer, is always among them."""
    from vocabopt.choice.complexity import parse_sizes

    return tuple(sorted({0, *(parse_sizes(value) or ())}))


@dataclass(frozen=True, kw_only=True)
class ProbeSizesOptions(ProbeRunOptions):
    """Which sizes of a run's curve are tried: sizes x seeds, each with equal text or equal FLOPs.

    The text of size 0 is that of n_steps steps, counted with the original tokenizer; a step reads as many bytes at
    every size.
    """

    sizes: tuple[int, ...] = option(
        (), metavar="SIZES", daily=True, parse=_sizes, default_text="rank init methods and plans instead",
        help="Added tokens to try with one method and plan, as 1000,4000,16000 or 8000:40000:4000; 0, the original "
        "tokenizer, is tried too."
    )
    equal: Literal["flops", "text", "both"] = option(
        "flops", section="sizes", help=_SIZES + "what all sizes get as much of as size 0: training FLOPs, text, or "
        "each in runs of its own."
    )
    budget_seconds: float | None = option(
        None, metavar="N", daily=True, check=above_0(), default_text="all runs",
        help=_SIZES + "seconds to spend, first on every size once, then on those that the best is not told apart from."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapt.run is None:
            raise OptionError("--sizes: are those of a sweep's curve. Name its folder with --run DIR.")
        if not any(self.sizes):
            raise OptionError("--sizes 0: is the original tokenizer alone. Name a size to compare with it.")

    @property
    def equals(self) -> tuple[Literal["flops", "text"], ...]:
        return ("flops", "text") if self.equal == "both" else (self.equal,)

    def as_record(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("equal", "budget_seconds", "n_steps", "n_seeds")}
        return {**self.adapt.as_record(), **own, "sizes": list(self.sizes)}


def one_method_and_plan(inits: Sequence[InitMethod], plans: Sequence[str]) -> dict[str, Any]:
    """The init method and the plan that sizes are compared with, as `ProbeOptions` has them; its default of all
    methods is that of `adapt`.

    Raises:
        OptionError: several were named.
    """
    named: dict[str, Sequence[str]] = {"init": () if list(inits) == list(INIT_METHODS) else inits, "plan": plans}
    for name, values in named.items():
        if len(values) > 1:
            raise OptionError(
                f"--{name} {', '.join(values)}: --sizes compares sizes by one of them. Find the best by a probe "
                f"without --sizes, and name it with --{name}."
            )
    return {name: values[0] for name, values in named.items() if values}


_COMPARE = "With --compare: "
_COMPARING = "comparing parts of the text"


@dataclass(frozen=True, kw_only=True)
class CompareOptions(CleaningOptions):
    """What moves a comparison of parts of a text (`vocabopt prepare --compare`).

    paths: the text; documents are held out of each path apart. steps: the chain of the arm "cleaned". probe_text: the
    same bytes in every arm; the arm "all" trains a second time on as much more as it has more text. max_added: tokens
    of the curves. What has no option is of the runs, as in `vocabopt probe`.
    """

    steps: "tuple[Step, ...]"
    model: str = option(
        metavar="MODEL", section=_COMPARING, default_text="", help=_COMPARE + "folder of the small model that learns "
        "each part."
    )
    budget: str = option(
        metavar="SIZE", section=_COMPARING, default_text="", help=_COMPARE + "bytes of each part, such as 20MB."
    )
    reference: str | None = option(
        None, metavar="PATH", section=_COMPARING, default_text="a tenth of the text itself",
        help=_COMPARE + "text that perplexity is measured by."
    )
    evals: Mapping[str, str] = option(
        dict, "--eval", metavar="NAME=PATH", section=_COMPARING,
        help=_COMPARE + "text to measure on, beside documents held out of each PATH; may be repeated."
    )
    size: int | None = option(
        None, metavar="N", section=_COMPARING, default_text="the choice on all the text",
        help=_COMPARE + "added tokens."
    )
    probe_text: str = option("400kB", section=_COMPARING, help=_COMPARE + "text that each run trains on.")
    batch: str = option("8kB", section=_COMPARING, help=_COMPARE + "text of a step.")
    learning_rate_factor: float = option(
        1.0, section=_COMPARING, help=_COMPARE + "factor on every stage's learning rate."
    )
    eval_bytes: str = option("200kB", section=_COMPARING, help=_COMPARE + "bytes of each held-out text at most.")
    n_seeds: int = option(3, "--seeds", section=_COMPARING, check=at_least(1), help=_COMPARE + "runs of each part.")
    threads: int | None = option(None, section=_COMPARING, help=_COMPARE + "threads of torch on the CPU.")
    heldout: float = 0.05
    max_added: int = 20_000
    context_tokens: int | None = None
    micro_batch: int = 8
    plan: str = "full"
    init: InitMethod = "decompose"
    lora_rank: int = 16
    precision: AnyPrecision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for flag, value in (("--budget", self.budget), ("--probe-text", self.probe_text), ("--batch", self.batch)):
            parse_bytes(value, flag)
        super().__post_init__()
        if self.size is not None and not 1 <= self.size <= self.max_added:
            raise OptionError(f"--size {self.size}: must be between 1 and --max-added, {self.max_added:,}.")
        if self.n_steps < 1:
            raise OptionError(f"--probe-text {self.probe_text}: is less than one --batch of {self.batch}.")

    @property
    def n_steps(self) -> int:
        return parse_bytes(self.probe_text, "--probe-text") // parse_bytes(self.batch, "--batch")

    @property
    def budget_bytes(self) -> int:
        return parse_bytes(self.budget, "--budget")

    def as_record(self) -> dict[str, Any]:
        return {**super().as_record(), "steps": step_records(self.steps)}

    def identity(self) -> dict[str, Any]:
        """What must be the same for a comparison to be resumed."""
        left_out = ("out", "threads", "n_seeds")
        return {name: value for name, value in self.as_record().items() if name not in left_out}
# fmt: on
