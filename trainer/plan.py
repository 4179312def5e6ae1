"""Training plans as data: which parameters each stage trains, on how much of the text, at what learning rate.

A plan is a tuple of stages that run one after another, each on its own slice of the text. Which parameters a stage
trains is a pure function of the names of the model's parameters (`trainable_names`), so it can be asserted whole.

A plan of one's own is a TOML file: [[stage]] with fields of `Stage` and [stage.lora] with those of `Lora`
(docs/explanation/training.md has one).
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from trainer.layout import ModelLayout
from vocabopt.errors import PlanError
from vocabopt.text.utf8 import read_utf8

Rows: TypeAlias = Literal["all", "new"]
#: Blocks by a word, or by number: from 1, and from -1 for the last, as in (1, 2, -2, -1).
Blocks: TypeAlias = Literal["none", "all", "odd", "even", "first-half", "second-half"] | tuple[int, ...]
Schedule: TypeAlias = Literal["cosine", "linear", "constant"]

BLOCK_WORDS = ("none", "all", "odd", "even", "first-half", "second-half")
SCHEDULES = ("cosine", "linear", "constant")
ROWS = ("all", "new")
_BLOCKS_ARE = f"must be one of {', '.join(BLOCK_WORDS)}, or numbers from 1, or from -1 for the last, as [1, 2, -1]"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters (arXiv 2106.09685) on every linear layer of the stage's blocks, merged when the stage ends.

    rank: of the two factors. On SOLAR-10.7B rank 128 is 4.6 % of the parameters, as RedWhale reports.
    alpha: the product is scaled by alpha / rank. targets: module names that get adapters; empty for all linear ones.
    """

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise PlanError(f"lora rank {self.rank}: must be at least 1, such as rank = 16.")
        if self.alpha < 1:
            raise PlanError(f"lora alpha {self.alpha}: must be at least 1, such as twice the rank.")
        if not 0 <= self.dropout < 1:
            raise PlanError(f"lora dropout {self.dropout}: must be at least 0 and below 1.")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a plan.

    embeddings, head: rows of the input and output table that train, None for none. In a tied model they are one
    table, which trains the wider of the two. blocks: transformer blocks that train, whole. other: the parameters
    outside tables and blocks (final norm, learned positions). lora: with it the blocks are frozen and adapters on
    them train instead.
    share: of the plan's text, in bytes; shares are relative to their sum.
    learning_rate: the highest, of everything but new rows; new_rows_factor: what it is multiplied with for those.
    warmup: share of the stage's steps in which the learning rate rises from 0. final_factor: of the highest learning
    rate at the stage's end, for cosine and linear schedules.
    """

    name: str
    embeddings: Rows | None = None
    head: Rows | None = None
    blocks: Blocks = "none"
    other: bool = False
    lora: Lora | None = None
    share: float = 1.0
    learning_rate: float = 1e-4
    new_rows_factor: float = 1.0
    schedule: Schedule = "cosine"
    warmup: float = 0.03
    final_factor: float = 0.1
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise PlanError(f"stage {self.name!r}: the name is its folder's. Use letters a to z, digits, - and _ only.")
        blocks: object = self.blocks
        are_blocks = blocks in BLOCK_WORDS
        if isinstance(blocks, tuple):
            are_blocks = bool(blocks) and all(isinstance(n, int) and not isinstance(n, bool) and n for n in blocks)
            blocks = list(blocks)  # as it is written
        checks: tuple[tuple[str, object, bool, str], ...] = (
            ("embeddings", self.embeddings, self.embeddings in (None, *ROWS), 'must be "all" or "new", or left out'),
            ("head", self.head, self.head in (None, *ROWS), 'must be "all" or "new", or left out'),
            ("blocks", blocks, are_blocks, _BLOCKS_ARE),
            ("share", self.share, self.share > 0, "must be above 0"),
            ("learning_rate", self.learning_rate, self.learning_rate > 0, "must be above 0"),
            ("new_rows_factor", self.new_rows_factor, self.new_rows_factor > 0, "must be above 0"),
            ("schedule", self.schedule, self.schedule in SCHEDULES, f"must be one of {', '.join(SCHEDULES)}"),
            ("warmup", self.warmup, 0 <= self.warmup < 1, "must be at least 0 and below 1"),
            ("final_factor", self.final_factor, 0 <= self.final_factor <= 1, "must be between 0 and 1"),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0, "must be at least 0"),
        )
        for field, value, holds, what in checks:
            if not holds:
                raise PlanError(f"stage {self.name!r}: {field} {value!r} {what}.")
        if self.lora is not None and self.blocks == "none":
            raise PlanError(f'stage {self.name!r}: lora needs blocks to put adapters on. Add blocks = "all".')
        if not (self.embeddings or self.head or self.blocks != "none" or self.other):
            raise PlanError(f"stage {self.name!r}: trains nothing. Name embeddings, head, blocks or other.")


_Made = TypeVar("_Made", Stage, Lora)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Stages in order, and where the plan comes from (a paper, or the file it was read from)."""

    name: str
    stages: tuple[Stage, ...]
    source: str

    def __post_init__(self) -> None:
        if not self.stages:
            raise PlanError(f'plan {self.name}: has no stages. Write one as [[stage]] name = "all" blocks = "all".')
        names = [stage.name for stage in self.stages]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise PlanError(f"plan {self.name}: two stages are called {twice!r}. Names must differ: they name folders.")

    def shares(self) -> list[float]:
        """Each stage's share of the text; they add up to 1."""
        total = sum(stage.share for stage in self.stages)
        return [stage.share / total for stage in self.stages]

    def with_own_tokenizer(self) -> "Plan":
        """The plan for a model that keeps its tokenizer, the control: without new rows, stages for them train all."""
        whole: dict[Rows | None, Rows | None] = {None: None, "all": "all", "new": "all"}
        stages = (
            replace(stage, embeddings=whole[stage.embeddings], head=whole[stage.head], new_rows_factor=1.0)
            for stage in self.stages
        )
        return replace(self, stages=tuple(stages))

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def stage_blocks(blocks: Blocks, n_blocks: int) -> frozenset[int]:
    """Numbers, from 1, of the blocks that are meant.

    Raises:
        PlanError: a number is not that of a block.
    """
    numbers = range(1, n_blocks + 1)
    if isinstance(blocks, tuple):
        found = frozenset(n if n > 0 else n_blocks + 1 + n for n in blocks)
        if outside := sorted(found - set(numbers)):
            raise PlanError(f"blocks {list(blocks)}: the model has {n_blocks} blocks, there is no block {outside[0]}.")
        return found
    half = n_blocks // 2
    by_word = {"none": numbers[:0], "all": numbers, "odd": numbers[::2], "even": numbers[1::2]}
    by_word |= {"first-half": numbers[:half], "second-half": numbers[half:]}
    return frozenset(by_word[blocks])


def trainable_names(stage: Stage, names: Iterable[str], layout: ModelLayout) -> frozenset[str]:
    """Names of the model's own parameters that a stage trains, whole or some rows of.

    Adapters of a LoRA stage are not among them: they are not the model's own parameters.

    Args:
        names: all parameter names of the model, a tied table once.

    Raises:
        PlanError: no parameter is named, or a block that the model does not have.
    """
    blocks = stage_blocks("none" if stage.lora else stage.blocks, layout.n_blocks)

    def trains(name: str) -> bool:
        if name in (layout.embeddings, layout.head, layout.head_bias):
            is_embedding = name == layout.embeddings
            is_head = name != layout.embeddings or layout.is_tied
            return (is_embedding and stage.embeddings is not None) or (is_head and stage.head is not None)
        number = layout.block_of(name)
        return stage.other if number is None else number in blocks

    chosen = frozenset(name for name in names if trains(name))
    if not chosen and stage.lora is None:
        raise PlanError(f"stage {stage.name!r}: names no parameter of this model ({layout.n_blocks} blocks).")
    return chosen


def rows_of_table(stage: Stage, layout: ModelLayout) -> dict[str, Rows]:
    """Table -> rows that train, for the tables (and the head's bias) that the stage trains.

    In a tied model the one table trains all rows where either side says so.
    """
    tables = {layout.embeddings: stage.embeddings, layout.head: stage.head, layout.head_bias: stage.head}
    if layout.is_tied:
        said = [rows for rows in (stage.embeddings, stage.head) if rows is not None]
        tables[layout.embeddings] = ("all" if "all" in said else "new") if said else None
    return {name: rows for name, rows in tables.items() if name is not None and rows is not None}


# --- Plans by name ----------------------------------------------------------------------------------------------------


def _plan(name: str, source: str, *stages: Stage) -> Plan:
    return Plan(name=name, stages=stages, source=source)


_TABLES = Stage(name="embeddings-head", embeddings="all", head="all", share=0.25, new_rows_factor=5.0)
_LORA = Stage(name="lora", blocks="all", lora=Lora(), share=0.25)
_ALL = Stage(name="all", embeddings="all", head="all", blocks="all", other=True, new_rows_factor=5.0)
_AFTER_NEW_ROWS = replace(_ALL, new_rows_factor=1.0)
_NEW_ROWS = Stage(name="new-rows", embeddings="new", head="new", learning_rate=5e-4)
_PLANS = (
    # The paper gives the order of the stages, not their shares: equal ones are ours.
    _plan(
        "redwhale",
        "RedWhale, arXiv 2408.11294",
        _TABLES,
        Stage(name="odd-blocks", blocks="odd", share=0.25),
        Stage(name="even-blocks", blocks="even", share=0.25),
        _LORA,
    ),
    _plan("full", "every parameter at once", _ALL),
    # Adapters cannot write new rows: the tables train whole together with them, as in Chinese-LLaMA.
    _plan("lora", "Chinese-LLaMA, arXiv 2304.08177", replace(_ALL, name="lora", other=False, lora=Lora())),
    _plan(
        "sequential",
        "RedWhale's stages with the blocks in order",
        _TABLES,
        Stage(name="first-half", blocks="first-half", share=0.25),
        Stage(name="second-half", blocks="second-half", share=0.25),
        _LORA,
    ),
    _plan(
        "top2-bottom2",
        "the two first and two last blocks and both tables",
        replace(_ALL, name="ends", blocks=(1, 2, -2, -1), other=False),
    ),
    # Needs an untied model: the first stages train one table without the other.
    _plan(
        "eeve",
        "EEVE, arXiv 2402.14714",
        replace(_NEW_ROWS, name="input-new", head=None, share=0.1),
        replace(_NEW_ROWS, name="output-new", embeddings=None, share=0.1),
        replace(_NEW_ROWS, name="both-new", share=0.1),
        Stage(name="output-all", head="all", share=0.15),
        Stage(name="input-new-output-all", embeddings="new", head="all", share=0.15),
        replace(_AFTER_NEW_ROWS, share=0.2),
        Stage(name="blocks", blocks="all", other=True, share=0.2),
    ),
    _plan(
        "inplace",
        "In-Place Tokenizer Expansion, arXiv 2607.15232",
        replace(_NEW_ROWS, share=0.2),
        replace(_AFTER_NEW_ROWS, share=0.8),
    ),
)
PLAN_NAMES: Sequence[str] = tuple(plan.name for plan in _PLANS)
NO_PLAN = f"--plan {{plan}}: no such plan. Choose {', '.join(PLAN_NAMES)}, or name a .toml file."


def named_plan(name: str, lora: Lora | None = None) -> Plan:
    """A plan by name, with adapters of the given size in its LoRA stage, where it has one.

    Raises:
        PlanError: there is no plan of that name.
    """
    plan = next((plan for plan in _PLANS if plan.name == name), None)
    if plan is None:
        raise PlanError(NO_PLAN.format(plan=name))
    stages = (replace(stage, lora=lora or Lora()) if stage.lora else stage for stage in plan.stages)
    return replace(plan, stages=tuple(stages))


def plan_by_name(value: str, lora: Lora) -> Plan:
    """`--plan`: a plan by its name, with adapters of the given size, or from a .toml file. Raises PlanError."""
    return read_plan(Path(value)) if value.endswith(".toml") else named_plan(value, lora)


# --- Plans in files ---------------------------------------------------------------------------------------------------

_NUMBER: tuple[str, tuple[type, ...]] = ("a number", (int, float))
#: What TOML's values must be, by field: a word for it, and the types.
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("name", "schedule"), ("a string", (str,))),
    **dict.fromkeys(("embeddings", "head"), ('"all" or "new"', (str,))),
    "blocks": ('a word as "odd", or a list of numbers', (str, list)),
    "other": ("true or false", (bool,)),
    "lora": ("a table, [stage.lora]", (dict,)),
    **dict.fromkeys(("share", "learning_rate", "new_rows_factor", "warmup", "final_factor", "weight_decay"), _NUMBER),
    **dict.fromkeys(("rank", "alpha"), ("a whole number", (int,))),
    "dropout": _NUMBER,
    "targets": ("a list of module names", (list,)),
}


def read_plan(path: Path) -> Plan:
    """The plan of a TOML file.

    Raises:
        PlanError: the file is missing or no TOML, or a field is unknown, missing or of another kind; the message names
            the file, the stage and the field.
    """
    try:
        record = tomllib.loads(read_utf8(path))
    except FileNotFoundError as error:
        raise PlanError(f"{path}: not found. Give --plan the name of a plan or a .toml file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read ({error}).") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: is no TOML ({error}).") from error
    if unknown := sorted(record.keys() - {"name", "stage"}):
        raise PlanError(f"{path}: unknown field {unknown[0]!r}. A plan has name and one [[stage]] for each stage.")
    name, stages = record.get("name", path.stem), record.get("stage", [])
    if not isinstance(name, str):
        raise PlanError(f"{path}: name {name!r} must be a string.")
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise PlanError(f"{path}: stage must be written [[stage]], once for each stage.")
    read = []
    for number, values in enumerate(stages, start=1):
        place = f"{path}: stage {number}"
        if "name" not in values:
            raise PlanError(f"{place}: has no name. Give it one: it names the stage's folder.")
        place = f"{place} ({values['name']!r})"
        lora = None
        if isinstance(given := values.get("lora"), dict):
            lora = _made(Lora, given, f"{place}: lora", f"{place}: lora")
        read.append(_made(Stage, values, place, str(path), **({"lora": lora} if lora else {})))
    try:
        return Plan(name=name, stages=tuple(read), source=str(path))
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def _made(kind: type[_Made], values: Mapping[str, Any], place: str, refused_at: str, **replaced: Any) -> _Made:
    """A stage or its adapters from a table of TOML. replaced: values that are read already."""
    known = [field.name for field in fields(kind)]
    for field, value in values.items():
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(known)}."
            raise PlanError(f"{place}: unknown field {field!r}.{hint}")
        what, types = _KINDS[field]
        # TOML's true is no number, though Python's is.
        holds = isinstance(value, types) and (not isinstance(value, bool) or bool in types)
        if not holds or (field == "targets" and not all(isinstance(target, str) for target in value)):
            raise PlanError(f"{place}: {field} {value!r} must be {what}.")
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return kind(**{**given, **replaced})
    except PlanError as error:
        raise PlanError(f"{refused_at}: {error}") from error
