"""The options of a probe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.adapt.options import AdaptOptions
from trainer.init import INIT_METHODS, InitMethod
from vocabopt.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One short run."""

    init: InitMethod
    plan: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.init}-{self.plan.replace('/', '_')}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Which short runs are made.

    adapt: what they share; its init, plan, seed and budget are replaced. inits x plans x seeds are run, each for
    n_steps steps in all, divided over the plan's stages by their shares. Seeds move the order of the text and random
    rows; held-out documents stay the same.
    """

    adapt: AdaptOptions
    inits: Sequence[InitMethod]
    plans: Sequence[str]
    n_steps: int = 50
    n_seeds: int = 3

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise OptionError(f"--steps {self.n_steps}: must be at least 1.")
        if self.n_seeds < 1:
            raise OptionError(f"--seeds {self.n_seeds}: must be at least 1.")
        given: dict[str, list[str]] = {"--init": [*self.inits], "--plan": [*self.plans]}
        for option, values in given.items():
            if twice := next((value for value in values if values.count(value) > 1), None):
                raise OptionError(f"{option} {twice}: is given twice.")
        if unknown := next((init for init in self.inits if init not in INIT_METHODS), None):
            raise OptionError(f"--init {unknown}: no such method. Choose {', '.join(INIT_METHODS)}.")

    @property
    def cells(self) -> tuple[Cell, ...]:
        first = self.adapt.seed or 0
        return tuple(
            Cell(init=init, plan=plan, seed=seed)
            for seed in range(first, first + self.n_seeds)
            for init in self.inits
            for plan in self.plans
        )

    def as_record(self) -> dict[str, Any]:
        own = {"inits": list(self.inits), "plans": list(self.plans)}
        return {**self.adapt.as_record(), **own, "n_steps": self.n_steps, "n_seeds": self.n_seeds}
