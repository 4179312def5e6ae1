"""Benchmarks through lm-eval, on items from local files: its requests, its scoring and its standard errors.

lm-eval is imported here and nowhere else, when a task is run: it takes seconds, and is an extra. Nothing is asked of
the network: items are handed over in memory, and metrics that lm-eval would fetch are its own or ours.
"""

import copy
import logging
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trainer.evaluate.record import TaskResult
from trainer.evaluate.tasks import Item, Task
from vocabopt.errors import OptionError, how_to_install

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SPLIT = "items"
#: What lm-eval and its libraries read when they are imported.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}


def require_lm_eval() -> None:
    """Raises OptionError where lm-eval is not installed."""
    if find_spec("lm_eval") is None:
        raise OptionError(f"--tasks needs lm-eval. {how_to_install('eval')}")


def language_model(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", batch_size: int, *, start_id: int | None = None
) -> Any:
    """lm-eval's own wrapper of a model that is loaded already.

    start_id: what opens a choice that has no prompt, as BLiMP's; None leaves it to lm-eval, which takes the tokenizer's
    begin token, else its end token.

    Its softmax is float32, whatever the model is. It gives its tokenizer a padding token, so it is lent a copy.
    """
    with _quiet_and_offline():
        wrapper = import_module("lm_eval.models.huggingface").HFLM
        return wrapper(
            pretrained=model,
            tokenizer=copy.deepcopy(tokenizer),
            batch_size=batch_size,
            softmax_dtype="float32",
            prefix_token_id=start_id,
        )


def run_task(
    lm: Any,
    task: Task,
    items: Sequence[Item],
    *,
    source: str | None = None,
    limit: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> TaskResult:
    """Ask the model every item, as lm-eval does: without examples, the most likely choice is its answer.

    Args:
        lm: what `language_model` gave.
        source: the file that the items are from.
        limit: only the first so many items.
        advance: called with the number of choices scored so far.
    """
    asked = items[:limit]
    with _quiet_and_offline():
        evaluate = import_module("lm_eval.evaluator").evaluate
        lm.set_cache_hook(_Answers(advance))
        loaded = {task.name: _loaded(task, asked)}
        results = evaluate(lm=lm, task_dict=loaded, log_samples=False)["results"][task.name]
    # lm-eval writes "N/A" where it knows no standard error.
    errors = {name: results.get(f"{name}_stderr,none") for name in task.metrics}
    return TaskResult(
        source=source,
        n_items=len(asked),
        metrics={name: float(results[f"{name},none"]) for name in task.metrics},
        stderrs={
            name: float(error) if isinstance(error, int | float) and math.isfinite(error) else None
            for name, error in errors.items()
        },
        n_joined=sum(_is_joined(lm, item.context, choice) for item in asked for choice in item.choices),
    )


def macro_f1(pairs: Sequence[tuple[int, int]]) -> float:
    """The mean over labels of F1, over (label, answer) pairs; a label that never occurs has none."""
    # Answers come as NumPy's integers, whose comparisons do not add up as Python's do.
    n_gold = Counter(int(gold) for gold, _ in pairs)
    n_answered = Counter(int(answer) for _, answer in pairs)
    n_right = Counter(int(gold) for gold, answer in pairs if gold == answer)
    labels = sorted(n_gold | n_answered)
    return sum(2 * n_right[label] / (n_gold[label] + n_answered[label]) for label in labels) / len(labels)


def _loaded(task: Task, items: Sequence[Item]) -> Any:
    """A task of lm-eval's that asks these items."""
    data = import_module("datasets").Dataset.from_list(
        [{"context": item.context, "choices": list(item.choices), "label": item.label} for item in items]
    )
    config = {
        "task": task.name,
        "custom_dataset": lambda **_: {_SPLIT: data},
        "test_split": _SPLIT,
        "output_type": "multiple_choice",
        # Names of columns: taken as they stand, where a template would lose a line break at the end.
        "doc_to_text": "context",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "num_fewshot": 0,
        "metric_list": [
            {"metric": name, "aggregation": macro_f1 if name == "f1" else "mean", "higher_is_better": True}
            for name in task.metrics
        ],
    }
    return import_module("lm_eval.api.task").ConfigurableTask(config=config)


def _is_joined(lm: Any, context: str, choice: str) -> bool:
    """Whether the ids of the prompt are not the first ids of prompt and choice."""
    if not context:
        return False
    # As lm-eval has it: white space at the end of the prompt is the choice's, behind the space between the two.
    before = lm.tok_encode(context.rstrip())
    together = lm.tok_encode(f"{context} {choice}")
    return bool(together[: len(before)] != before)


class _Answers:
    """Told of every answer, in the place of lm-eval's store of answers."""

    def __init__(self, advance: Callable[[int], None] | None) -> None:
        self._advance, self._n_done = advance, 0

    def add_partial(self, attr: str, request: Any, answer: Any) -> None:
        self._n_done += 1
        if self._advance is not None:
            self._advance(self._n_done)


@contextmanager
def _quiet_and_offline() -> Iterator[None]:
    """No bars, logs and warnings of lm-eval's, and a library that is imported here learns that there is no network."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(_OFFLINE)
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    bars = import_module("tqdm").tqdm
    init = bars.__init__
    bars.__init__ = lambda self, *args, **options: init(self, *args, **{**options, "disable": True})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        bars.__init__ = init
        logging.disable(disabled)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
