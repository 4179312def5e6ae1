"""What a person sees while a command works: progress bars on a terminal, plain lines elsewhere, nothing with --quiet.

Progress goes to standard error, so that results on standard output can be piped.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vocabopt.amounts import shown_bytes
from vocabopt.errors import listen
from vocabopt.failures import end_if_stopped

Unit = Literal[
    "bytes", "tokens", "chunks", "lines", "vocabularies", "text sets", "choices", "shards", "rows", "sizes", "steps"
]
_PLAIN_EVERY_SECONDS = 5.0


class Advance(Protocol):
    """Takes the new total done so far, and a word on how it goes, which stays until the next one."""

    def __call__(self, done: int, note: str = "") -> None: ...


class Console:
    """Steps with progress."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        listen(None if quiet else self.note)
        self.rich = RichConsole(stderr=True)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: Unit = "tokens", before: int = 0) -> Iterator[Advance]:
        """Time a step of the work, and show how far it is.

        Args:
            before: of the total, what an interrupted run had done already: it is done, and no rate counts it.
        """
        end_if_stopped()  # a library may have swallowed what the signal raised
        start = time.perf_counter()
        try:
            if self.quiet:
                yield lambda done, note="": None
            elif self.rich.is_terminal:
                name_and_bar = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
                speed = _RateColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}")
                with Progress(*name_and_bar, *speed, console=self.rich) as bar:
                    task = bar.add_task(name, total=total, completed=before, unit=unit, note="")
                    yield lambda done, note="": bar.update(task, completed=done, **({"note": note} if note else {}))
                    if total is not None:
                        bar.update(task, completed=total)
            else:
                yield _PlainProgress(name, total, unit, before)
                print(f"{name}: done in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)

    def note(self, sentence: str) -> None:
        """Something to know that is no result and no error."""
        if not self.quiet:
            print(sentence, file=sys.stderr, flush=True)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{_amount(speed, task.fields['unit'])}/s" if speed else "")


class _PlainProgress:
    """A line at most every few seconds: share done, rate, time left."""

    def __init__(self, name: str, total: int | None, unit: Unit, before: int) -> None:
        self.name, self.total, self.unit, self.before = name, total, unit, before
        self.start = self.last = time.perf_counter()
        self.note = ""

    def __call__(self, done: int, note: str = "") -> None:
        now = time.perf_counter()
        self.note = note or self.note
        if now - self.last < _PLAIN_EVERY_SECONDS:
            return
        self.last = now
        rate = (done - self.before) / (now - self.start)
        line = f"{self.name}: {_amount(done, self.unit)}"
        if self.total and rate:
            left = max(0.0, self.total - done) / rate
            line += f" of {_amount(self.total, self.unit)} ({done / self.total:.0%}), {left:.0f} s left"
        line += f", {_amount(rate, self.unit)}/s" + (f", {self.note}" if self.note else "")
        print(line, file=sys.stderr, flush=True)


def _amount(value: float, unit: Unit) -> str:
    return shown_bytes(value) if unit == "bytes" else f"{value:,.0f} {unit}"
