"""adapt.json, what an adaptation did and cost, as a typed record: the trainer writes it, the report shows it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from vocabopt.errors import ForgettingError, OptionError
from vocabopt.records import FileRecord, Record

ADAPT_JSON = "adapt.json"

Role: TypeAlias = Literal["target", "base"]
#: At most what 64 bits hold: no damaged file then has a count that no float is near.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
#: Text -> bits per byte; without the texts that were not measured.
Bits: TypeAlias = dict[str, float]

# --- The text ---------------------------------------------------------------------------------------------------------


class TextRecord(Record, frozen=True, kw_only=True):
    """A text that is measured. n_tokens_before, n_tokens_after: under the base and the merged tokenizer."""

    role: Role
    n_documents: Count
    n_bytes: Count
    n_tokens_before: Count
    n_tokens_after: Count


class SourceText(Record, frozen=True, kw_only=True):
    """What of a source is trained on. share: of the bytes; passes: over its text."""

    n_bytes: Count
    n_documents: Count
    share: float
    passes: float
    n_held_out: Count
    n_excluded: Count


class TrainingText(Record, frozen=True, kw_only=True):
    """A text plan in numbers. passes: over the target."""

    n_bytes: Count
    n_documents: Count
    passes: float
    sources: dict[str, SourceText]


class OwnText(FileRecord, frozen=True, kw_only=True):
    """own-text.json beside text that a base model wrote itself. seconds: of all processes that wrote some of it."""

    NEXT_STEP: ClassVar[str] = "Remove its folder: the text is written again."

    bytes_wanted: Count
    n_bytes: Count
    n_documents: Count
    #: Sampled tokens, those of documents that were left out included.
    n_tokens: Count
    temperature: float
    #: Random tokens that each document was begun with.
    prompt_tokens: Count
    #: Tokens of a document at most.
    length: Count
    seed: int
    seconds: float


class SelfReplay(OwnText, frozen=True, kw_only=True, omit_defaults=True):
    """Replay that the base model wrote itself before training. share: of all training bytes.

    Of its fields only format_version has a default, so only that is omitted: adapt.json has its own.
    """

    share: float


class Exposure(Record, frozen=True, kw_only=True):
    """How often new tokens occur in the training text; a tenth of them occurs at most `p10` times."""

    n_new: Count
    n_unseen: Count
    median: Count | None
    p10: Count | None


@dataclass(frozen=True, kw_only=True)
class DocumentEnds:
    """The tokens that open and close every document, None for none, and why they were taken.

    start_id, end_id: of `start` and `end`. notes: sentences for who reads the numbers.
    """

    start: str | None
    end: str | None
    start_id: int | None
    end_id: int | None
    notes: tuple[str, ...] = ()

    @property
    def n_tokens(self) -> int:
        """Tokens that a document has more than its text."""
        return (self.start_id is not None) + (self.end_id is not None)

    def in_words(self) -> str:
        """ "Documents are opened by <s> and closed by </s>." """
        opened, closed = self.start or "nothing", self.end or "nothing"
        return f"Documents are opened by {opened} and closed by {closed}."

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "notes": list(self.notes)}


# --- New rows ---------------------------------------------------------------------------------------------------------


class RowGroup(Record, frozen=True, kw_only=True):
    """Rows of a table that came about in the same way; norms are None where there is no row."""

    #: Whose rows: of the base's tokens, of the new ones, or of no token.
    kind: Literal["base", "new", "padding"]
    #: The rule in words, "kept" for rows that stay as they were.
    made_by: str
    n_rows: Count
    #: Of the rows as they are stored now, Euclidean; of a bias its absolute values.
    norm_mean: float | None
    norm_median: float | None


class NormLog(Record, frozen=True, kw_only=True):
    """What new rows were rescaled to: the median norm of n_rows base rows, of the target script or of base ids."""

    rows: Literal["target script", "base ids"]
    n_rows: Count
    norm: float


class CalibrationLog(Record, frozen=True, kw_only=True):
    """Norms that new rows got: the median of base rows whose text has about as many bytes."""

    #: The base rows that were looked at: of the target script, or of every token with text.
    rows: Literal["target script", "all"]
    n_rows: Count
    #: Bytes of a new token's text -> norm.
    norms: dict[int, float]


class DistillLog(Record, frozen=True, kw_only=True):
    """What learning the new input rows from text read, cost and reached."""

    #: Of the text that was looked through, with its name.
    text: str
    text_bytes: Count
    #: Snippets of so many tokens, and how many were wanted of each new token.
    n_snippets: Count
    length: Count
    snippets_wanted: Count
    #: New tokens with as many snippets as were wanted, with fewer, and with none: these keep the row they began with.
    n_full: Count
    n_fewer: Count
    n_without_text: Count
    #: The method that made the rows to begin with.
    start: str
    #: Block whose output is matched, from 1; the last one's behind the last norm.
    layer: Count
    n_steps: Count
    batch: Count
    #: The highest of a row's numbers, and as a share of the standard deviation of the base's rows.
    learning_rate: float
    rate: float
    seed: int
    #: Tokens read with the new spelling and with the old one.
    tokens_new: Count
    tokens_old: Count
    #: Mean squared distance of hidden states over the first tenth of the steps and over the last.
    loss_first: float
    loss_last: float
    seconds: float
    #: Of products with the blocks' weights.
    flops: Count


class TableLog(Record, frozen=True, kw_only=True):
    #: both: a tied model's one table; bias: the output's.
    name: Literal["input", "output", "both", "bias"]
    #: As the model names it.
    parameter: str
    width: Count
    n_rows_before: Count
    n_rows: Count
    #: Of the base tokens' rows.
    standard_deviation: float
    #: None where the rule sets none.
    norm: NormLog | None
    #: None where norms were not calibrated.
    calibration: CalibrationLog | None = None
    groups: tuple[RowGroup, ...]


class InitLog(Record, frozen=True, kw_only=True):
    #: One that --init takes.
    method: str
    match_norm: bool
    seed: int
    n_new: Count
    #: How many of the new rows were those of base tokens that a swap took out.
    n_reused: Count = 0
    tables: tuple[TableLog, ...]
    #: None where rows were not learned.
    distill: DistillLog | None = None
    #: Sentences on what the method did otherwise than its name says.
    notes: tuple[str, ...]


# --- Stages -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """After a step.

    tokens, bytes: of the text read so far, the blocks' share of the stage's own; exact at the stage's end.
    loss: nats per predicted token, the mean of the steps since the point before. learning_rate: of that step, for
    everything but new rows. grad_norm: before it was clipped.
    """

    step: Count
    tokens: Count
    bytes: Count
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float


class StageRun(FileRecord, frozen=True, kw_only=True):
    """stage.json. seconds: of training, those before an interruption too. peak_bytes: of one process; None where not
    measured."""

    NEXT_STEP: ClassVar[str] = "Train the stage again."

    name: str
    n_trainable: Count
    n_steps: Count
    tokens: Count
    bytes: Count
    seconds: float
    peak_bytes: Count | None
    curve: tuple[CurvePoint, ...]


class StageRecord(StageRun, frozen=True, kw_only=True, omit_defaults=True):
    """A finished stage: its stage.json, what it trained, and bits per byte after it (empty: not measured).

    Of its fields only format_version has a default, so only that is omitted: adapt.json has its own.
    """

    learning_rate: float
    trains: str
    bits_per_byte: Bits


class Gate(Record, frozen=True, kw_only=True):
    """How much of the base's language a stage may have forgotten.

    Raises:
        OptionError: the share is below 0 or not a number; or there is no text to measure it on.
    """

    #: The largest relative rise in bits per byte allowed, 0.1 for 10 %; None allows any.
    max_forgetting: float | None
    #: Names of the base-language texts that it is measured on.
    texts: tuple[str, ...]
    #: The largest rise after any stage; None where not measured.
    worst: float | None = None

    def __post_init__(self) -> None:
        if self.max_forgetting is None:
            return
        if not 0 <= self.max_forgetting < float("inf"):
            raise OptionError(f"--max-forgetting {self.max_forgetting}: must be at least 0 (0.1 allows 10 %).")
        if not self.texts:
            raise OptionError(
                f"--max-forgetting {self.max_forgetting}: no text of the base's language is measured. Name one with "
                "--eval en=PATH; where the script does not tell that it is one, with --base-eval en as well."
            )

    @property
    def held(self) -> bool | None:
        """None where there was no gate, or nothing was measured."""
        if self.max_forgetting is None or self.worst is None or not isfinite(self.worst):
            return None
        return self.worst <= self.max_forgetting

    def rise(self, before: Mapping[str, float | None], after: Mapping[str, float | None]) -> tuple[float, str] | None:
        """By what share bits per byte rose most, and on which text; below 0 where even that got better.

        None where no text was measured both times.
        """
        rises = [
            (now / then - 1, name)
            for name in self.texts
            if (then := before.get(name)) is not None and (now := after.get(name)) is not None and then > 0
        ]
        return max(rises, key=lambda found: found[0]) if rises else None

    def check(
        self, before: Mapping[str, float | None], after: Mapping[str, float | None], *, stage: str, folder: Path
    ) -> float | None:
        """The largest relative rise in bits per byte over the base-language texts; None where none was measured.

        Args:
            before, after: bits per byte by name of the text, of the base model and after the stage.
            stage: its name, for the message. folder: where its checkpoint is kept.

        Raises:
            ForgettingError: it is above `max_forgetting`.
        """
        found = self.rise(before, after)
        if found is None:
            return None
        rise, name = found
        if self.max_forgetting is not None and rise > self.max_forgetting:
            raise ForgettingError(
                f"stage {stage}: forgot more than --max-forgetting {self.max_forgetting:g} allows. Bits per byte on "
                f"{name} rose by {rise:.2%}, from {before[name]:.4f} to {after[name]:.4f}. The model after this stage "
                f"is kept in {folder}. Mix in more base-language text with --replay, lower the learning rate with "
                "--learning-rate-factor, or allow more with --max-forgetting."
            )
        return rise


# --- The whole file ---------------------------------------------------------------------------------------------------


class SampleRecord(Record, frozen=True, kw_only=True):
    """How the base model continues a prompt, and how the adapted one (or the control) does."""

    prompt: str
    before: str
    after: str


class ControlRecord(Record, frozen=True, kw_only=True):
    """The original tokenizer and model on the same text and plan."""

    plan: str
    before: Bits
    stages: tuple[StageRecord, ...]
    after: Bits
    samples: tuple[SampleRecord, ...] = ()


class WeightsRecord(Record, frozen=True, kw_only=True):
    """Types of the base's weights, in training, and in OUT/model; bits per byte of weights that were rounded at the
    end, None where they were not."""

    base: str
    trained: str
    saved: str
    bits_per_byte: Bits | None


class PeakRecord(Record, frozen=True, kw_only=True):
    """The highest memory of training every parameter at once, and where the number is from."""

    peak_bytes: Count
    source: str


class AdaptRecord(FileRecord, frozen=True, kw_only=True):
    """adapt.json, complete at any time for what is done so far."""

    NEXT_STEP: ClassVar[str] = "Remove it: --resume writes it anew from the finished stages."

    #: "running", "finished", or "stopped: " and why.
    status: str
    n_added: Count
    plan: str
    init: str
    model: str
    tokenizer: str
    out: str
    #: As given, and as they were taken where they were left open.
    options: dict[str, Any]
    versions: dict[str, str]
    #: In words.
    device: str
    n_params: Count
    texts: dict[str, TextRecord]
    document_ends: DocumentEnds
    training_text: TrainingText
    #: None where the model wrote none of it.
    self_replay: SelfReplay | None = None
    exposure: Exposure
    init_log: InitLog
    #: Text -> bits per byte of the base, after initialisation, and after the last stage.
    before: Bits
    initialised: Bits
    stages: tuple[StageRecord, ...] = ()
    after: Bits
    gate: Gate
    samples: tuple[SampleRecord, ...] = ()
    control: ControlRecord | None = None
    #: None where it cannot be predicted.
    full_training: PeakRecord | None
    #: Of OUT/model; None until it is written.
    weights: WeightsRecord | None = None
    warnings: tuple[str, ...]

    @property
    def stopped_by(self) -> str | None:
        """Why the run stopped; None where it did not."""
        kind, _, reason = self.status.partition(":")
        return (reason.strip() or "no reason was kept") if kind.strip() == "stopped" else None
