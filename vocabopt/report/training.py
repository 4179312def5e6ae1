"""What adapting a model did (adapt.json), asked in the words of the page.

A run that was stopped, or that measured less, holds less: what is missing is None or empty, and the page leaves it
out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vocabopt.report.rows import quotient
from vocabopt.report.training_loss import has_bits
from vocabopt.report.training_rows import Arm, Score, arm_of, finite
from vocabopt.text.scripts import dominant_script

N_SAMPLE_LINES = 24
_FINISHED, _RUNNING, _STOPPED = "finished", "running", "stopped"
# Scripts that, on the whole, one language writes: a browser then picks its letters, a screen reader its voice.
_LANGUAGES = {
    "Armenian": "hy",
    "Georgian": "ka",
    "Greek": "el",
    "Hangul": "ko",
    "Hiragana": "ja",
    "Katakana": "ja",
    "Thai": "th",
}


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Text that a model wrote, in its lines; None where there is none. language: of its script, where that tells."""

    text: str | None
    lines: Sequence[str] = field(default=())
    n_more: int = 0
    language: str | None = None


def _passage(text: str | None) -> Passage:
    if text is None:
        return Passage(text=None)
    lines = text.replace("\r\n", "\n").split("\n")
    shown = lines[:N_SAMPLE_LINES]
    language = _LANGUAGES.get(dominant_script(text[:1000]) or "")
    return Passage(text=text, lines=shown, n_more=len(lines) - len(shown), language=language)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prompt, and how each model goes on."""

    prompt: Passage
    before: Passage
    after: Passage
    control: Passage


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The most that may be forgotten on base-language text, as a share of bits per byte before; and what was."""

    max_forgetting: float | None
    worst: float | None
    texts: Sequence[str]

    @property
    def held(self) -> bool | None:
        """None where there was no gate, or nothing was measured."""
        return None if self.max_forgetting is None or self.worst is None else self.worst <= self.max_forgetting


@dataclass(frozen=True, kw_only=True)
class Source:
    """A part of the training text; share: of its bytes."""

    name: str
    n_documents: float | None
    n_bytes: float | None
    share: float | None


class Training:
    """adapt.json."""

    def __init__(self, adapt: Mapping[str, Any]) -> None:
        self.given = adapt
        n_params = finite(adapt.get("n_params"))
        self.adapted = arm_of(adapt, n_params)
        self._control_given: Mapping[str, Any] | None = adapt.get("control")
        self.control = None if self._control_given is None else arm_of(self._control_given, None)

    @property
    def status(self) -> str | None:
        return self.said("status")

    def said(self, name: str) -> str | None:
        """A field that holds words: plan, init, model, device."""
        words: str | None = self.given.get(name)
        return words

    @property
    def n_added(self) -> float | None:
        return finite(self.given.get("n_added"))

    @property
    def is_finished(self) -> bool:
        return self.status == _FINISHED

    @property
    def is_running(self) -> bool:
        return self.status == _RUNNING

    @property
    def stopped_by(self) -> str | None:
        """Why the run stopped; None where it did not."""
        kind, _, reason = (self.status or "").partition(":")
        return (reason.strip() or "no reason was kept") if kind.strip() == _STOPPED else None

    @cached_property
    def scores(self) -> list[Score]:
        """Every text, those adapted to first, then base-language text; each in the order given."""
        adapted, control, texts = self.adapted, self.control, self.given.get("texts") or {}
        names = dict.fromkeys([*texts, *adapted.before, *adapted.after])
        order = {"target": 0, "base": 2}
        ordered = sorted(names, key=lambda name: order.get(str((texts.get(name) or {}).get("role")), 1))
        return [self._score(number, name, texts.get(name) or {}, adapted, control)
                for number, name in enumerate(ordered, start=1)]  # fmt: skip

    @staticmethod
    def _score(number: int, name: str, given: Mapping[str, Any], adapted: Arm, control: Arm | None) -> Score:
        now, now_at = adapted.latest(name)
        each = [bits for stage in adapted.stages if (bits := stage.bits.get(name)) is not None]
        before = adapted.before.get(name)
        own = None if control is None else control.before.get(name)
        control_now, control_at = (None, None) if control is None else control.latest(name)
        return Score(
            number=number,
            name=name,
            given=given,
            before=before,
            initialised=adapted.initialised.get(name),
            now=now,
            now_at=now_at,
            worst=max([*each, *([] if now is None else [now])], default=None),
            # Both arms start from the same model: a control that holds no figures of its own shares these.
            control_before=before if own is None else own,
            control=control_now,
            control_at=control_at,
        )

    @property
    def targets(self) -> list[Score]:
        """Texts in the language adapted to; where no text has a role, every text."""
        targets = [score for score in self.scores if score.role == "target"]
        return targets or [score for score in self.scores if score.role is None]

    @property
    def base_texts(self) -> list[Score]:
        return [score for score in self.scores if score.role == "base"]

    @property
    def most_forgotten(self) -> Score | None:
        known = [score for score in self.base_texts if score.change is not None]
        return max(known, key=lambda score: score.change or 0, default=None)

    @property
    def gate(self) -> Gate | None:
        given = self.given.get("gate")
        if given is None:
            return None
        return Gate(
            max_forgetting=finite(given.get("max_forgetting")),
            worst=finite(given.get("worst")),
            texts=list(given.get("texts") or []),
        )

    @cached_property
    def samples(self) -> list[Sample]:
        """Prompts with their continuations; the control's where it was given the same prompt."""
        control = {}
        for given in (self._control_given or {}).get("samples") or []:
            control[given["prompt"]] = given.get("after")
        return [
            Sample(
                prompt=_passage(given["prompt"]),
                before=_passage(given.get("before")),
                after=_passage(given.get("after")),
                control=_passage(control.get(given["prompt"])),
            )
            for given in self.given.get("samples") or []
        ]

    @property
    def full_training(self) -> Mapping[str, Any] | None:
        """Peak memory of training every parameter at once, where it is known: peak_bytes, and its source in words."""
        given: Mapping[str, Any] = self.given.get("full_training") or {}
        return given if finite(given.get("peak_bytes")) is not None else None

    @property
    def loss_in_bits(self) -> bool:
        """Is the training loss shown in bits per byte, or per token?"""
        return has_bits(self.adapted)

    @property
    def exposure(self) -> Mapping[str, float | None] | None:
        """How often the new tokens stand in the training text: n_new, n_unseen, median, p10 (of ten the lowest)."""
        given = self.given.get("exposure")
        return None if not given else {name: finite(given.get(name)) for name in ("n_new", "n_unseen", "median", "p10")}

    @property
    def text(self) -> Mapping[str, float | None] | None:
        """The training text: n_bytes, n_documents, passes."""
        given = self.given.get("training_text")
        return None if not given else {name: finite(given.get(name)) for name in ("n_bytes", "n_documents", "passes")}

    @property
    def sources(self) -> list[Source]:
        given: Mapping[str, Mapping[str, Any]] = (self.given.get("training_text") or {}).get("sources") or {}
        n_bytes = {name: finite(source.get("n_bytes")) for name, source in given.items()}
        known = [size for size in n_bytes.values() if size is not None]
        total = sum(known) if len(known) == len(given) else None
        return [
            Source(
                name=name,
                n_documents=finite(source.get("n_documents")),
                n_bytes=n_bytes[name],
                share=quotient(n_bytes[name], total),
            )
            for name, source in given.items()
        ]
