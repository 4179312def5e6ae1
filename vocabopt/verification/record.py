"""verify.json as a typed record: what was compared, and what each check found."""

from typing import Any, ClassVar, Literal

import msgspec

from vocabopt.merging.extension import Proof
from vocabopt.records import Count, FileRecord, Record

Status = Literal["pass", "fail", "warn", "not_checked"]


class Example(Record, frozen=True, kw_only=True):
    """A line, piece or setting, and what each of the two tokenizers makes of it."""

    what: str
    base: str
    new: str


class Check(Record, frozen=True, kw_only=True):
    """One check. name: the sentence that holds where it passes. summary: what was found. examples: of what is wrong."""

    name: str
    status: Status
    summary: str
    counts: dict[str, Count] = msgspec.field(default_factory=dict)
    examples: tuple[Example, ...] = ()


class Compared(Record, frozen=True, kw_only=True):
    """A tokenizer as it was compared. forms: hashes of the publisher's other forms. refusal: why it cannot be grown."""

    name: str
    source: str
    sha256: str
    written: str
    forms: dict[str, str]
    n_tokens: Count
    refusal: str | None


class Report(FileRecord, frozen=True, kw_only=True):
    """verify.json.

    verdict: the worst of the checks; those that could not be made do not count. passed: nothing failed.
    n_new: tokens that BASE lacks, n_reused of them at its ids. scripts: the target of the new tokens; scripts_from:
    what they come from.
    proof: what `vocabopt merge` proved of the counts of NEW; null where no text was counted.
    """

    NEXT_STEP: ClassVar[str] = "Verify again."

    passed: bool
    verdict: Literal["pass", "fail", "warn"]
    base: Compared
    new: Compared
    n_new: Count
    n_reused: Count = 0
    scripts: tuple[str, ...]
    scripts_from: str
    options: dict[str, Any]
    checks: tuple[Check, ...]
    versions: dict[str, str]
    seconds: dict[str, float]
    proof: Proof | None = None

    def check(self, name: str) -> Check:
        """The check of that name."""
        return next(check for check in self.checks if check.name == name)

    def of_status(self, status: Status) -> list[Check]:
        return [check for check in self.checks if check.status == status]
