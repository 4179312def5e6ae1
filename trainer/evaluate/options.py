"""The options of `vocabopt eval`: one home for every default, checked when made, stored with the result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainer.document_ends import AUTO
from trainer.evaluate.tasks import GROUPS, chosen_tasks
from vocabopt.errors import OptionError
from vocabopt.text.reading import ReadOptions, TextFormat

#: Where the model has as many positions: longer ones move bits per byte little, and cost memory.
DEFAULT_CONTEXT = 2_048


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """Everything that moves the result of an evaluation, as given on the command line.

    model: a Hugging Face folder. tokenizer: another folder's; None takes the model's. texts: NAME -> PATH.
    limit_bytes: of each text, from its beginning; the document that reaches it is the last, and whole. context_tokens,
    stride: of the windows, see `score_text`; None takes 2,048 tokens or the model's positions, and no overlap.
    document_start: what opens documents, see `document_ends`.
    batch_size: windows, or choices of a task, computed at once. tasks: names of tasks or groups of them. tasks_data:
    folders with their files. tasks_limit: items of each task, the first ones. The rest as in `SweepOptions`.
    """

    model: str
    texts: Mapping[str, str] = field(default_factory=dict)
    tokenizer: str | None = None
    limit_bytes: int | None = None
    context_tokens: int | None = None
    stride: int | None = None
    document_start: str = AUTO
    batch_size: int = 8
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    tasks: tuple[str, ...] = ()
    tasks_data: tuple[Path, ...] = ()
    tasks_limit: int | None = None
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    on_error: Literal["fail", "skip"] = "fail"
    format: TextFormat = "auto"

    def __post_init__(self) -> None:
        if not self.texts and not self.tasks:
            raise OptionError(
                "Nothing to measure. Name text with --text NAME=PATH, for example --text ko=korean.txt, or benchmarks "
                f"with --tasks ({', '.join(GROUPS)})."
            )
        for option, value in (
            ("batch", self.batch_size),
            ("limit", self.limit_bytes),
            ("tasks-limit", self.tasks_limit),
        ):
            if value is not None and value < 1:
                raise OptionError(f"--{option} {value}: must be at least 1.")
        chosen_tasks(self.tasks)
        if self.tasks and not self.tasks_data:
            raise OptionError(
                f"--tasks {','.join(self.tasks)}: is read from local files. Name their folder with --tasks-data DIR."
            )
        if self.tasks_data and not self.tasks:
            raise OptionError(f"--tasks-data {self.tasks_data[0]}: names data of no task. Name the task with --tasks.")
        self.read_options()

    def read_options(self) -> ReadOptions:
        """The part that says how text is read."""
        return ReadOptions.of(self)

    def as_record(self) -> dict[str, Any]:
        record = asdict(self)
        return {
            **record,
            "texts": dict(self.texts),
            "tasks": list(self.tasks),
            "tasks_data": [str(folder) for folder in self.tasks_data],
        }
