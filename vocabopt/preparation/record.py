"""The files of a preparation as typed records.

prepare.json       PrepareRecord   the funnel, examples, and where it all came from
options.json       OptionsRecord   whose folder it is, before any text is read
work/files.json    FilesRead       what reading gave
work/K/N.json      ShardCounts     shard N behind pass K: what each step did
work/K/done.json   Done            pass K is whole
"""

from typing import Any, ClassVar

from vocabopt.records import Count, FileRecord, Record


class Example(Record, frozen=True, kw_only=True):
    """A document before a step, and after it where the step changed it."""

    id: str
    text: str
    after: str | None
    why: str | None


class Drawn(Example, frozen=True, kw_only=True):
    """rank: a hash of the text, by which examples are drawn."""

    rank: Count


class StepNumbers(Record, frozen=True, kw_only=True):
    """What one step was given and left. facts: what else it found, by name."""

    step: str
    n_documents_in: Count
    n_documents_out: Count
    n_bytes_in: Count
    n_bytes_out: Count
    n_tokens_in: Count | None
    n_tokens_out: Count | None
    n_changed: Count
    n_units_removed: Count
    seconds: float
    facts: dict[str, Any]


class StepCount(StepNumbers, frozen=True, kw_only=True):
    """One step over some shards. taken: examples removed or changed. kept: examples that came through as they were."""

    taken: tuple[Drawn, ...]
    kept: tuple[Drawn, ...]


class StepRecord(StepNumbers, frozen=True, kw_only=True):
    """One step over all shards."""

    taken: tuple[Example, ...]
    kept: tuple[Example, ...]


class FileReport(Record, frozen=True, kw_only=True):
    """What reading a file gave. error: why it was left, in our words; its documents until there are kept."""

    url: str
    encoding: str
    n_documents: Count
    n_blank: Count
    n_unreadable: Count
    n_recoded: Count
    n_bytes: Count | None
    error: str | None


class TextInput(Record, frozen=True, kw_only=True):
    """A file that was read: of the text, or of what a step is made of."""

    url: str
    text_set: str
    n_bytes: Count | None
    fingerprint: str


class OptionsRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    #: Of the options and inputs: a run with another one cannot go on where this one stopped.
    identity: str
    options: dict[str, Any]
    inputs: tuple[TextInput, ...]


class FilesRead(FileRecord, frozen=True, kw_only=True):
    n_shards: Count
    files: tuple[FileReport, ...]


class ShardCounts(FileRecord, frozen=True, kw_only=True):
    counts: tuple[StepCount, ...]


class Done(FileRecord, frozen=True, kw_only=True):
    """facts: what the corpus step of the pass found, beside its decision."""

    n_shards: Count
    facts: dict[str, Any]


class PrepareRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Remove it to prepare the text again."

    command: str
    versions: dict[str, str]
    options: dict[str, Any]
    inputs: tuple[TextInput, ...]
    files: tuple[FileReport, ...]
    steps: tuple[StepRecord, ...]
    seconds: dict[str, float]
    peak_memory_bytes: Count
