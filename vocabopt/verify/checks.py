"""What each check found: a record with its numbers and examples. The sentences on it are made in `summary.py`."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any, Literal

import msgspec

from vocabopt.tokenizer.encoders import Kind

Status = Literal["pass", "fail", "warn", "not_checked"]

#: Examples of a check that are kept: of each kind of fault one before a second of any.
N_EXAMPLES = 5
#: How much of --text and of --protect transformers is given; of the built-in lines all.
N_RELOADED_BYTES = 500_000
#: A kind of difference: what a class of transformers fills in and the new folder states.
STATED = "settings stated"
#: Of a long value an example shows this many values, or characters, some of them before the first that differs.
_N_VALUES, _N_CHARS, _N_BEFORE = 5, 300, 60

BASE_IDS = "Base ids spell the same pieces, and new ids follow them"
SPECIAL_TOKENS = "Special tokens are unchanged"
SETTINGS = "Model settings and base merges are unchanged"
BASE_PIECES = "Base pieces still come from their own text"
TEMPLATES = "Chat templates render the same"
OTHER_TEXT = "Other text gives the same ids"
REACHABILITY = "Every new token comes from its own text"
ROUND_TRIP = "Text decodes as with the base"
RELOAD = "transformers loads it with the same ids"
LOADED = "transformers loads it with the base's settings and chat prompts"
FORMS = "All forms of the new tokenizer agree"
SPELLING = "No new token is spelled like another"
LLAMA_CPP = "llama.cpp recognises the same pre-tokenizer"
#: Names of the built-in lines: those of `hard_strings`, and those of `text.plain_lines`.
BUILT_IN, PLAIN = "built-in edge cases", "built-in English and code"


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A line, piece or setting, and what each of the two tokenizers makes of it."""

    what: str
    base: str
    new: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check. name: the sentence that holds where it passes. examples: of what is wrong."""

    name: str
    status: Status
    examples: tuple[Example, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The numbers found, as verify.json holds them."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name.startswith("n_")}


class NotChecked(Check, frozen=True, kw_only=True):
    """A check that could not be made, and the reason."""

    status: Status = "not_checked"
    reason: str


class BaseIds(Check, frozen=True, kw_only=True):
    """n_base, n_new: ids. n_changed: of the base. n_out_of_order: new ones, holes included."""

    name: str = BASE_IDS
    n_base: int
    n_new: int
    n_changed: int
    n_out_of_order: int


class SpecialTokens(Check, frozen=True, kw_only=True):
    """n_base, n_new: added tokens of the base, and those it lacks. n_matched_otherwise: found by other rules."""

    name: str = SPECIAL_TOKENS
    n_base: int
    n_changed: int
    n_matched_otherwise: int
    n_new: int


class Settings(Check, frozen=True, kw_only=True):
    """forms: those compared. compared: sizes of what was compared. wrong, doubtful: kind of difference -> how many."""

    name: str = SETTINGS
    forms: tuple[Kind, ...]
    compared: Mapping[str, int]
    wrong: Mapping[str, int]
    doubtful: Mapping[str, int]

    @property
    def counts(self) -> dict[str, int]:
        n_wrong, n_doubtful = (sum(kinds.values()) for kinds in (self.wrong, self.doubtful))
        return {**self.compared, "n_different": n_wrong, "n_written_otherwise": n_doubtful}


class Pieces(Check, frozen=True, kw_only=True):
    """Base pieces that their own text gave, by form: n_judged, and n_broken, those it gives no more."""

    name: str = BASE_PIECES
    n_judged: Mapping[Kind, int]
    n_broken: Mapping[Kind, int]

    @property
    def counts(self) -> dict[str, int]:
        return by_form(n_judged=self.n_judged, n_broken=self.n_broken)


class Reachability(Check, frozen=True, kw_only=True):
    """New tokens, by form: n_judged; n_unreachable from their own text, of which reachable ones are built through
    n_steps_unreachable, and n_lost are of no use.

    n_whole_pretokens_only: no merges lead to them. n_new: all new tokens. On n_target_lines of text n_unused do not
    occur, n_scaffold of them steps to others; None where no text was given. has_target: the text is the target's.
    """

    name: str = REACHABILITY
    n_judged: Mapping[Kind, int]
    n_unreachable: Mapping[Kind, int]
    n_steps_unreachable: Mapping[Kind, int]
    n_lost: Mapping[Kind, int]
    n_new: int
    n_whole_pretokens_only: int
    n_target_lines: int | None
    n_unused: int
    n_scaffold: int
    has_target: bool

    @property
    def counts(self) -> dict[str, int]:
        names = ("n_judged", "n_unreachable", "n_steps_unreachable", "n_lost")
        counts = by_form(**{name: getattr(self, name) for name in names})
        if self.n_whole_pretokens_only:
            counts["n_whole_pretokens_only"] = self.n_whole_pretokens_only
        if self.n_target_lines is not None:
            used = {"n_target_lines": self.n_target_lines, "n_unused": self.n_unused, "n_scaffold": self.n_scaffold}
            counts |= used
        return counts


class Templates(Check, frozen=True, kw_only=True):
    """n_templates: of either. n_rendered: renderings. lone: which of the two is a lone file without templates."""

    name: str = TEMPLATES
    n_base: int
    n_new: int
    n_rendered: int
    n_different: int
    names: tuple[str, ...]
    lone: Literal["BASE", "NEW"] | None


class TextTally(msgspec.Struct, kw_only=True):
    """Lines of one text without characters of the target."""

    n_lines: int = 0
    n_bytes: int = 0
    n_changed: int = 0


class OtherText(Check, frozen=True, kw_only=True):
    """judged, left: text -> lines that must not change, and lines that nothing says should stay.

    changed_in, n_names: form -> changed lines, and lines not judged in it as they hold added tokens new to the base.
    scripts: the target's. protected_in_sweep: texts that the sweep protected.
    """

    name: str = OTHER_TEXT
    judged: Mapping[str, TextTally]
    left: Mapping[str, TextTally]
    changed_in: Mapping[str, int]
    n_with_target: int
    n_names: Mapping[str, int]
    scripts: tuple[str, ...]
    protected_in_sweep: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        total, left = total_of(self.judged), total_of(self.left)
        counts = {"n_lines": total.n_lines, "n_bytes": total.n_bytes, "n_changed": total.n_changed}
        counts["n_with_target"] = self.n_with_target
        for name, tally in (*self.judged.items(), *self.left.items()):
            counts |= {f"n_lines ({name})": tally.n_lines, f"n_changed ({name})": tally.n_changed}
        counts |= {"n_not_judged": left.n_lines, "n_not_judged_changed": left.n_changed}
        counts |= {f"n_changed ({name})": n for name, n in self.changed_in.items()}
        return counts | {f"n_not_judged ({name})": n for name, n in self.n_names.items()}


def total_of(tallies: Mapping[str, TextTally]) -> TextTally:
    """The sum of tallies."""
    values = tallies.values()
    sums = {name: sum(getattr(tally, name) for tally in values) for name in TextTally.__struct_fields__}
    return TextTally(**sums)


class RoundTrip(Check, frozen=True, kw_only=True):
    """n_changed: lines that decode to something else than with the base."""

    name: str = ROUND_TRIP
    n_lines: int
    n_changed: int


class Reload(Check, frozen=True, kw_only=True):
    """n_not_compared: lines behind the first bytes of a text. n_base_as_well: the base's folder differs on them, too.

    error: why the folder cannot be loaded.
    """

    name: str = RELOAD
    n_not_compared: int = 0
    n_lines: int = 0
    n_different: int = 0
    n_base_as_well: int = 0
    error: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        return {} if self.error is not None else super().counts


class Loaded(Check, frozen=True, kw_only=True):
    """wrong, doubtful: kind of difference -> how many; doubtful: the base's folder is loaded otherwise than it says.

    class_name: of the base's tokenizer in transformers. n_lines_base_departs: lines that are loaded otherwise.
    """

    name: str = LOADED
    n_prompts: int
    n_lines_base_departs: int
    wrong: Mapping[str, int]
    doubtful: Mapping[str, int]
    class_name: str

    @property
    def counts(self) -> dict[str, int]:
        n_different = sum(self.wrong.values())
        departs = {"n_lines_base_departs": self.n_lines_base_departs}
        return {"n_prompts": self.n_prompts, "n_different": n_different, **departs}


class FormTally(msgspec.Struct, kw_only=True):
    """Lines in which one form was compared with the first."""

    n_lines: int = 0
    n_not_compared: int = 0
    n_different: int = 0
    n_base_as_well: int = 0
    n_by_new_token: int = 0

    @property
    def n_wrong(self) -> int:
        """Lines that differ where the base's two files do not."""
        return self.n_different - self.n_base_as_well


class FormsAgree(Check, frozen=True, kw_only=True):
    """tallies: of each form that was compared with `first`. missing: form -> the package that would read it.

    n_of_loading: lines on which the base, as it was loaded from a lone tokenizer.model, is not that model.
    """

    name: str = FORMS
    first: Kind | None
    tallies: Mapping[Kind, FormTally]
    missing: Mapping[Kind, str]
    n_of_loading: int
    base_name: str
    new_name: str
    is_folder: bool

    @property
    def counts(self) -> dict[str, int]:
        counts = {"n_of_loading": self.n_of_loading} if self.tallies else {}
        for kind, tally in self.tallies.items():
            counts |= {f"n_lines ({kind})": tally.n_lines, f"n_different ({kind})": tally.n_wrong}
            counts |= {f"n_not_compared ({kind})": tally.n_not_compared}
            counts |= {f"n_base_as_well ({kind})": tally.n_base_as_well}
            counts |= {f"n_by_new_token ({kind})": tally.n_by_new_token}
        return counts


class Spelling(Check, frozen=True, kw_only=True):
    """n_twice: spellings of new tokens that another token has."""

    name: str = SPELLING
    n_new: int
    n_twice: int


class LlamaCpp(Check, frozen=True, kw_only=True):
    """before, after: the hashes by which llama.cpp's converter knows a pre-tokenizer.

    is_used: for byte-level tokenizers only. has_target: its fixed text holds what the new tokens are for.
    """

    name: str = LLAMA_CPP
    n_changed: int
    before: str
    after: str
    is_used: bool
    has_target: bool


_SHORT: Mapping[Kind, str] = {"tokenizer.json": "json", "tokenizer.model": "model"}


def by_form(**counts: Mapping[Kind, int]) -> dict[str, int]:
    """Counts of single pieces by form, under the names that verify.json has for them."""
    kinds = next(iter(counts.values()))
    return {f"{name}_{_SHORT[kind]}": each[kind] for kind in kinds for name, each in counts.items()}


# --- Examples ---------------------------------------------------------------------------------------------------------


class Findings:
    """What differs, by kind, with examples. wrong: certainly; doubtful: perhaps only written in another way."""

    def __init__(self) -> None:
        self.wrong: dict[str, list[Example]] = {}
        self.doubtful: dict[str, list[Example]] = {}

    def add(self, kind: str, what: str, base: Any, new: Any, *, certain: bool) -> None:
        """Note two different values of BASE and NEW."""
        examples = self.wrong if certain else self.doubtful
        old, now = contrast(base, new)
        examples.setdefault(kind, []).append(Example(what=what, base=old, new=now))

    @property
    def status(self) -> Status:
        return "fail" if self.wrong else "warn" if self.doubtful else "pass"

    @property
    def examples(self) -> tuple[Example, ...]:
        """The first of each kind, those that are certain before the others."""
        return one_of_each([*self.wrong.values(), *self.doubtful.values()])


def n_of_each(kinds: Mapping[str, Sequence[Example]]) -> dict[str, int]:
    """How many differences there are of each kind."""
    return {kind: len(found) for kind, found in kinds.items()}


def first_examples(examples: Iterable[Example]) -> tuple[Example, ...]:
    """As many of them as a check keeps."""
    return tuple(islice(examples, N_EXAMPLES))


def one_of_each(kinds: Iterable[Iterable[Example]]) -> tuple[Example, ...]:
    """As many examples as a check keeps, the first of each kind before the second of any."""
    rows = chain.from_iterable(zip_longest(*kinds))
    return first_examples(example for example in rows if example is not None)


def contrast(base: Any, new: Any) -> tuple[str, str]:
    """Two different values as an example shows them: of lists what only one has, of long texts what differs."""
    if isinstance(base, list) and isinstance(new, list):
        left, right = ([value for value in one if value not in other] for one, other in ((base, new), (new, base)))
        if left or right:
            return _only(left, len(base)), _only(right, len(new))
    old, now = (value if isinstance(value, str) else str(value) for value in (base, new))
    n_same = next((i for i, (a, b) in enumerate(zip(old, now, strict=False)) if a != b), min(len(old), len(now)))
    first = max(0, n_same - _N_BEFORE)
    return _cut(old, first), _cut(now, first)


def _only(values: list[Any], n: int) -> str:
    """What one list has and the other lacks; n: length of the list."""
    shown = ", ".join(map(repr, values[:_N_VALUES])) + (", ..." if len(values) > _N_VALUES else "")
    return f"{n:,}, of which the other has all" if not values else f"{n:,}, {len(values):,} of them only here: {shown}"


def _cut(text: str, first: int) -> str:
    if len(text) <= _N_CHARS:
        return text
    part = text[first : first + _N_CHARS]
    return f"{'...' if first else ''}{part}{'...' if first + _N_CHARS < len(text) else ''} ({len(text):,} characters)"
