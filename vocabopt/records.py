"""The JSON files of a run as typed records, and the one function that reads them and the one that writes them.

Integers are stored; ratios are computed from them where they are needed (`TextSet.ratio_input`,
`BaseRecord.ratio_embedding`). No sentence is stored: `vocabopt.wording` makes them from the numbers. What is not known
is null. A field that a reader does not know is ignored.

    run.json          RunRecord          what went in, what it cost
    sweep.json        SweepRecord        base, text sets, sizes, and the Choice with each rule's Answer
    samples.json      SamplesRecord      a few short documents of each text set
    terms.json        TermsRecord        how the terms of --terms are cut at every size
    union.json        UnionRecord        what a vocabulary trained apart gives, at each of its sizes
    sensitivity.json  SensitivityRecord  several corpora side by side

Records of other files: merging/extension.py (extension.json), swap/record.py (swap.json), verification/record.py
(verify.json), analysis/record.py (analyze.json), preparation/record.py (prepare.json), training_record.py (adapt.json).
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import inspect

from vocabopt.choice.options import ChoiceOptions
from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.folder import FORMAT_VERSION, read_json, write_bytes_atomic
from vocabopt.model.spec import ModelSpec
from vocabopt.options import SweepOptions
from vocabopt.text.sets import ALIGNED, HELDOUT, N_BELOW, N_FOLDS, TRAIN, set_of
from vocabopt.text.utf8 import json_bytes

R = TypeVar("R", bound="FileRecord")
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Bound = Literal["at", "at_least", "none"]
RuleKind = Literal["knee", "flops", "exposure", "used", "marginal", "memory", "law", "measured"]
#: What runs at several sizes have in common: the training text, or the FLOPs.
Equal = Literal["text", "flops"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a file, or of what is passed between modules."""


class FileRecord(Record, frozen=True, kw_only=True):
    """A whole JSON file. NEXT_STEP: what helps where it is damaged, the end of every message about it."""

    NEXT_STEP: ClassVar[str] = "Run the command that wrote it again."

    format_version: int = FORMAT_VERSION


# --- Parts of several files -------------------------------------------------------------------------------------------


class BaseRecord(Record, frozen=True, kw_only=True):
    """The base tokenizer, how to load it again, and the rows of the embedding that it is counted with."""

    name: str
    family: str
    #: A path, hub id or built-in name.
    source: str
    #: What a tiktoken rank file leaves out: the split pattern, and the special tokens.
    pattern: str | None
    specials: str | None
    sha256: str
    n_tokens: Count
    #: Rows of the embedding table, padding included.
    n_rows: Count

    def n_rows_at(self, n_added: int) -> int:
        """Rows with so many added tokens, which fill padding rows first: Qwen2.5 has 151,936 rows, 151,665 tokens."""
        return max(self.n_rows, self.n_tokens + n_added)

    def ratio_embedding(self, n_rows: int) -> float:
        """Embedding parameters of so many rows over those of the base: the hidden size and tying cancel."""
        return n_rows / self.n_rows


class TextSet(Record, frozen=True, kw_only=True):
    """What a text set holds. Words are runs of characters that are not white space (Unicode's)."""

    role: Literal["train", "heldout", "eval", "protected", "kept"]
    n_documents: Count
    n_bytes: Count
    n_chars: Count
    n_words: Count
    #: Strings of special tokens inside the text, which count as one token each.
    n_special_tokens: Count
    #: Documents left out: blank ones, and those that could not be read.
    n_blank: Count
    n_skipped: Count
    #: Characters that the base has no token for.
    n_lost_chars: Count
    #: Parts that no added token can join, strings of special tokens included: no number of added tokens brings the set
    #: below it. Null in a file of an earlier version.
    n_chunks: Count | None = None
    n_tokens_base: Count
    #: Of the distribution of the base's tokens; null for a set without tokens.
    entropy_bits_base: float | None

    def ratio_input(self, n_tokens: int) -> float | None:
        """n_tokens / tokens of the base; None, not a number, for a set without tokens."""
        return n_tokens / self.n_tokens_base if self.n_tokens_base else None


class SetTokens(Record, frozen=True, kw_only=True):
    """Tokens of one text set."""

    n_tokens: Count


class Point(Record, frozen=True, kw_only=True):
    """One size of the curve."""

    n_added: Count
    n_rows_total: Count
    #: Null where no model is known.
    n_embedding_params: Count | None
    #: The curve ends before this size: the numbers are those of its end.
    dry: bool
    sets: dict[str, SetTokens]


class Guard(Record, frozen=True, kw_only=True):
    """What keeps other text as it was: the scripts that new tokens must show, and the protected texts."""

    scripts: tuple[str, ...]
    scripts_from: Literal["text", "option"]
    #: Smallest share of the letters at which a writing system is a target.
    min_script_share: float
    #: Letters of the training text by script, most first.
    n_letters: dict[str, Count]
    protected_sets: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Does nothing at all guard other text?"""
        return not self.scripts and not self.protected_sets


class KeptText(Record, frozen=True, kw_only=True):
    """Tokens of a text whose cost a swap weighs, counted with the base and with the merged tokenizer."""

    n_tokens_base: Count
    n_tokens: Count

    @property
    def ratio_lost(self) -> float | None:
        """More tokens than with the base, as a share of those; None for a text without tokens."""
        return (self.n_tokens - self.n_tokens_base) / self.n_tokens_base if self.n_tokens_base else None


class Targets(Record, frozen=True, kw_only=True):
    """Several targets, and how rows were shared between them.

    Their text sets are train_NAME and heldout_NAME (`sets.set_of`); aligned text of a language is aligned_NAME. The
    sets train and heldout are the sums of those of all targets.
    """

    names: tuple[str, ...]
    #: tokens: one sum of savings, each target's times its weight; parity: each row goes to the target served worst.
    balance: Literal["tokens", "parity"]
    #: Whole numbers without a common factor; null for parity.
    weights: dict[str, Annotated[int, msgspec.Meta(ge=1)]] | None
    #: The scripts found in each target's text; of a text in Latin none.
    scripts: dict[str, tuple[str, ...]]
    #: The language that parity is measured against on aligned text; null where there is none.
    parity: str | None
    #: Languages of the aligned text.
    aligned: tuple[str, ...]

    def measured_sets(self, sets: Mapping[str, TextSet]) -> dict[str, str]:
        """Target -> the set that tells how it is served: held-out text; training text where one has none."""
        parts = (HELDOUT, TRAIN)
        part = next(part for part in parts if all(sets[set_of(part, name)].n_tokens_base for name in self.names))
        return {name: set_of(part, name) for name in self.names}

    def ratios(self, sets: Mapping[str, TextSet], point: Point) -> dict[str, float]:
        """ratio_input of each target at a size."""
        measured = self.measured_sets(sets).items()
        return {name: point.sets[text_set].n_tokens / sets[text_set].n_tokens_base for name, text_set in measured}

    @staticmethod
    def spread(ratios: Mapping[str, float]) -> float:
        """How much of its tokens the target served worst has left, over the best."""
        return max(ratios.values()) / min(ratios.values())

    def parities(self, point: Point) -> dict[str, float]:
        """Tokens of each target's aligned text for each token of the reference at a size; {} without aligned text."""
        if self.parity is None:
            return {}
        n_reference = point.sets[set_of(ALIGNED, self.parity)].n_tokens
        return {name: point.sets[set_of(ALIGNED, name)].n_tokens / n_reference for name in self.names}

    @property
    def is_weighted(self) -> bool:
        """Do some targets count more than others?"""
        return self.weights is not None and len({*self.weights.values()}) > 1


class Learned(Record, frozen=True, kw_only=True):
    """The documents that merges were learned from, picked by content hash; all text was counted with the merges."""

    #: Hashes below this, of N_BELOW; and of these documents the first folds, of N_FOLDS.
    n_below: Count
    n_folds: Count
    #: Were other text sets than the training set left out of the learning?
    train_alone: bool
    #: Was all protected text there all the same?
    all_protected: bool
    #: What was taken of the training set.
    n_documents: Count
    n_bytes: Count
    #: Tokens of the base in what was learned from, per text set.
    n_tokens_base: dict[str, Count]

    @property
    def share(self) -> float:
        """Of the training documents, on average."""
        return self.n_below / N_BELOW * self.n_folds / N_FOLDS

    @property
    def is_all(self) -> bool:
        """Was all text of all sets learned from?"""
        return self.share == 1 and not self.train_alone


class WidenedSet(Record, frozen=True, kw_only=True):
    """A text set with a widened split pattern."""

    #: Tokens with the widened pattern and no added token. (Size 0 of the curve is the base as it is.)
    n_tokens: Count
    #: Chunks that the base's own pattern cuts the set into; `TextSet.n_chunks` are those of the widened one.
    n_chunks_base: Count


class Widened(Record, frozen=True, kw_only=True):
    """A split pattern that was widened, so that words of some scripts keep their marks."""

    scripts: tuple[str, ...]
    #: In place of the base's own.
    pattern: str
    sets: dict[str, WidenedSet]


class DocumentProof(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What was proved on whole documents, each encoded once however often the run has it."""

    n_documents: Count
    #: Of these, whole documents; and parts of longer ones.
    n_whole_documents: Count
    n_excerpts: Count
    n_bytes: Count
    #: Tokens of all of them. Encoding them whole and counting them chunk by chunk gave this same number.
    n_tokens: Count
    #: Are they all text of the run?
    is_all: bool
    #: Characters, runs of white space and added tokens that the text has; and those that the documents have.
    n_features: Count
    n_features_held: Count
    #: Where tokenizer.json, which is counted, is not the base's SentencePiece model: documents that sentencepiece
    #: encodes otherwise, and its tokens of all of them.
    n_otherwise_by_model: Count | None = None
    n_tokens_by_model: Count | None = None


# --- The choice -------------------------------------------------------------------------------------------------------


class SizeFit(Record, frozen=True, kw_only=True):
    """What short runs at several sizes say of the size: choice/measured.py makes it. Bits are bits per byte of target
    text, means over seeds."""

    equal: Equal
    #: Sizes above 0, and the fewest seeds of one of them.
    n_sizes: Count
    n_seeds: Count
    #: Bits over log2 of the size as a polynomial, the constant first; empty for fewer than three sizes above 0.
    coefficients: tuple[float, ...]
    #: The smallest and the largest size above 0.
    measured: tuple[Count, Count]
    #: The size of fewest bits, 0 where that is the original tokenizer; and those bits.
    best: Count
    best_bits: float
    #: Bits of the original tokenizer.
    control_bits: float | None
    #: What 95 % of the differences of two means over seeds stay below by chance; null for one seed.
    noise: float | None
    #: Sizes above 0 whose bits, by the curve, are within noise of the best; null where none is, or noise is not known.
    within: tuple[Count, Count] | None
    #: Where the curve's minimum lies in 90 % of resamples; null where the errors are not known.
    interval: tuple[Count, Count] | None

    @property
    def bound(self) -> Bound:
        """Runs that end at their best size say only that it is not smaller."""
        return "at_least" if self.best == self.measured[1] else "at"


class Answer(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What one rule says of the size. Fields of one kind of rule alone are left out of the others."""

    name: str
    kind: RuleKind
    n_added: Count | None
    #: Is that the size, or only a bound, as the curve ends before it; none: the rule has no answer.
    bound: Bound
    #: flops: compute for the same text at this size, over that of the base.
    ratio_flops: float | None = None
    #: exposure: occurrences of the last added token that are asked for.
    n_times: Count | None = None
    #: exposure, where no training text is planned: tokens of the base that the recommended size needs.
    n_tokens_needed: Count | None = None
    #: memory: bytes that the base takes, where not even that fits.
    n_bytes_base: Count | None = None
    #: law: rows of the whole vocabulary that the law gives.
    n_rows: Count | None = None
    #: measured: what the runs of a probe say.
    fit: SizeFit | None = None

    @property
    def second_opinion(self) -> bool:
        """Fitted to other text or models than these: shown, and decides nothing."""
        return self.kind == "law"


class Interval(Record, frozen=True, kw_only=True):
    """Where the knee of resampled documents falls, in `share` of the resamples that have one."""

    share: float
    low: Count
    high: Count
    n_resamples: Count
    n_without_knee: Count
    n_folds: Count


class Windows(Record, frozen=True, kw_only=True):
    """The chord knee over many windows: knees[i][j] is that of starts[i]..ends[j], None where there is none."""

    starts: tuple[Count, ...]
    ends: tuple[Count, ...]
    knees: tuple[tuple[Count | None, ...], ...]

    def found(self) -> list[tuple[int, int, int]]:
        """(knee, start, end) of every window that has a knee, by knee."""
        return sorted(
            (knee, start, end)
            for start, row in zip(self.starts, self.knees, strict=True)
            for end, knee in zip(self.ends, row, strict=True)
            if knee is not None
        )


class PaperAxis(Record, frozen=True, kw_only=True):
    """The recommended size as the paper counts it: pieces of a vocabulary trained apart, and how many the base has."""

    vocab_size: Count
    n_overlap: Count


class UnionKnee(Record, frozen=True, kw_only=True):
    """The knee among the vocabularies trained apart that were measured, over a window of them."""

    #: Pieces of the first and of the last vocabulary.
    window: tuple[Count, Count]
    #: Pieces of the vocabulary at the knee, and its new rows.
    knee: Count
    n_added: Count


class Flops(Record, frozen=True, kw_only=True):
    """Forward FLOPs of one token, by part: cost.py says what is counted."""

    body_per_token: Count
    attention_per_token_per_context_token: Count
    head_per_row: Count


class CostRecord(Record, frozen=True, kw_only=True):
    """What compute is counted from."""

    n_body_params: Count
    #: Those that one token passes: fewer where there are experts.
    n_active_body_params: Count
    n_layers: Count
    n_heads: Count
    n_kv_heads: Count
    head_dim: Count
    context_tokens: Count
    flops: Flops


class Choice(Record, frozen=True, kw_only=True):
    """The recommended size, with everything that makes one trust or doubt it."""

    #: The rule that decided; "padding" where rows of the table are free, "end" where no rule bounds a size on this
    #: curve, so that its end decides, "none" where no rule has an answer.
    rule: str
    n_added: Count
    #: Of the set and window decided on, before clipping and rounding; null where the curve has none.
    knee: Count | None
    window: tuple[Count, Count]
    #: The text set decided on.
    set: str
    #: What the rule named, and the largest size that curve, training plan and memory allow.
    named: Count
    limit: Count
    #: The kind of rule whose limit lies below `named`; null where none does.
    clipped_by: RuleKind | None
    interval: Interval | None
    windows: Windows
    #: The knee of each text set over the same window.
    knees: dict[str, Count | None]
    rules: tuple[Answer, ...]
    #: Null where no union was measured, or not up to this size.
    paper_axis: PaperAxis | None
    union_knees: tuple[UnionKnee, ...]
    #: Null where no model is known, or not its layers.
    model_cost: CostRecord | None
    options: ChoiceOptions
    #: Constants that influence an answer and cannot be set.
    fixed: dict[str, float | tuple[float, ...]]
    point: Point


# --- sweep.json -------------------------------------------------------------------------------------------------------


class Swept(FileRecord, frozen=True, kw_only=True):
    """sweep.json without its choice: what was counted and grown."""

    NEXT_STEP: ClassVar[str] = "Sweep again into this folder."

    method: Literal["grow", "union", "swap"]
    base: BaseRecord
    model: ModelSpec | None
    scripts: tuple[str, ...]
    guard: Guard
    sets: dict[str, TextSet]
    points: tuple[Point, ...]
    max_added: Count
    #: Added tokens at which no further one saves enough; null where the text did not run dry.
    exhausted_at: Count | None
    #: Merges left out, as they would have changed protected text.
    n_blocked: Count
    options: SweepOptions
    curve_sha256: str
    proof: DocumentProof
    learned: Learned
    #: Null where the base's own pattern stays.
    widened: Widened | None = None
    #: Null where there is one target.
    targets: Targets | None = None

    @property
    def end(self) -> int:
        """Added tokens at the curve's end."""
        return self.max_added if self.exhausted_at is None else self.exhausted_at

    @property
    def base_tokens(self) -> dict[str, int]:
        return {name: given.n_tokens_base for name, given in self.sets.items()}


class SweepRecord(Swept, frozen=True, kw_only=True):
    """sweep.json."""

    #: Size -> added tokens that are steps to longer ones and that nothing uses any more.
    n_scaffold: dict[str, Count]
    choice: Choice

    @property
    def points_shown(self) -> list[Point]:
        """The points and the choice's own, by size: the rows of the tables."""
        by_size = {point.n_added: point for point in (self.choice.point, *self.points)}
        return [by_size[size] for size in sorted(by_size)]


# --- The other files --------------------------------------------------------------------------------------------------


class Input(Record, frozen=True, kw_only=True):
    """A file of text."""

    url: str
    text_set: str
    #: Stored (compressed) size; null where it is not known, as for standard input.
    n_bytes: Count | None
    role: str
    fingerprint: str


class RunRecord(FileRecord, frozen=True, kw_only=True):
    """run.json. A run that did not finish has no field from `command` on."""

    # It says whose folder it is, so a sweep into this one is refused as well.
    NEXT_STEP: ClassVar[str] = "Sweep the text into a new folder with --out."

    counts_version: int
    inputs: tuple[Input, ...]
    inputs_sha256: str
    command: str | None = None
    started_at: str | None = None
    versions: dict[str, str | None] = msgspec.field(default_factory=dict)
    #: The library that encoded the chunks.
    encoder: str | None = None
    seconds: dict[str, float] = msgspec.field(default_factory=dict)
    peak_memory_bytes: Count | None = None
    counts_reused: bool | None = None
    options: SweepOptions | None = None


class SamplesRecord(FileRecord, frozen=True, kw_only=True):
    """samples.json: text set -> a few of its documents."""

    NEXT_STEP: ClassVar[str] = "Remove it, or sweep into a new folder."

    samples: dict[str, list[str]]


class TermCut(Record, frozen=True, kw_only=True):
    """How a term is cut: with nothing before it, or after a space."""

    #: Parts that no added token joins: a term of several never becomes one token.
    n_chunks: Count
    #: The smallest size at which it is one token; null where that is none on this curve.
    one_token_at: Count | None
    #: At each of the sizes the text of its tokens; bytes that are no whole character as \xNN.
    pieces: tuple[tuple[str, ...], ...]


class Term(Record, frozen=True, kw_only=True):
    """A term of --terms."""

    term: str
    alone: TermCut
    after_space: TermCut


class TermsRecord(FileRecord, frozen=True, kw_only=True):
    """terms.json. sizes: added tokens, in order: the grid and the size recommended when it was written."""

    NEXT_STEP: ClassVar[str] = "Sweep into this folder with --terms again, or remove it."

    curve_sha256: str
    sizes: tuple[Count, ...]
    terms: tuple[Term, ...]


class Changed(Record, frozen=True, kw_only=True):
    """Documents of a protected set without characters of the target, and how many of them the union changes."""

    n_documents: Count
    n_changed: Count


class UnionPoint(Record, frozen=True, kw_only=True):
    """The union with a vocabulary of one size."""

    vocab_size: Count
    #: Pieces that the base has already, and new ones.
    n_overlap: Count
    n_added: Count
    n_rows_total: Count
    n_embedding_params: Count | None
    #: New pieces that their own text does not give.
    n_unreachable: Count
    #: New pieces that held-out text never gives; null where nothing was held out.
    n_unused: Count | None
    #: Tokens of the base that their own text gave before and gives no more.
    n_base_broken: Count
    protected: dict[str, Changed]
    encoder: str
    sets: dict[str, SetTokens]

    @property
    def n_changed(self) -> int | None:
        """Documents of all protected sets that change; None where nothing is protected."""
        return sum(changed.n_changed for changed in self.protected.values()) if self.protected else None


class UnionChoice(Record, frozen=True, kw_only=True):
    """The size at the knee among those measured; null where there is none."""

    vocab_size: Count | None
    n_added: Count | None
    window: tuple[Count, Count]
    set: str


class UnionRecord(FileRecord, frozen=True, kw_only=True):
    """union.json."""

    NEXT_STEP: ClassVar[str] = "Sweep into this folder with --method union again."

    #: A vocabulary trained elsewhere; null for one trained on the text.
    vocab: str | None
    vocab_size: Count
    sha256: str
    trained: dict[str, Any] | None
    scores: Literal["unique", "zero"]
    scripts: tuple[str, ...]
    base_n_rows: Count
    points: Annotated[tuple[UnionPoint, ...], msgspec.Meta(min_length=1)]
    choice: UnionChoice


class Corpus(Record, frozen=True, kw_only=True):
    """One corpus of a comparison, or all together: what its own curve gives."""

    name: str
    sets: dict[str, TextSet]
    exhausted_at: Count | None
    choice: Choice


class SensitivityRecord(FileRecord, frozen=True, kw_only=True):
    """sensitivity.json. shared and lost: rows are what the tokens were learned from."""

    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    inputs_sha256: str
    base: BaseRecord
    model: ModelSpec | None
    scripts: tuple[str, ...]
    guard: Guard
    proof: DocumentProof
    options: dict[str, Any]
    versions: dict[str, str | None]
    corpora: tuple[Corpus, ...]
    #: Added tokens at which the vocabularies are compared.
    compared_at: Count
    #: Share of the row's tokens that are among the column's; null for no tokens.
    shared: tuple[tuple[float | None, ...], ...]
    #: More tokens for the column's held-out text than with its own tokens; null where none was held out.
    lost: tuple[tuple[float | None, ...], ...]


# --- Reading and writing ----------------------------------------------------------------------------------------------


def json_of(record: Record) -> dict[str, Any]:
    """What JSON holds of a record: mappings, lists, numbers and text."""
    value: dict[str, Any] = msgspec.to_builtins(record, str_keys=True, enc_hook=str)
    return value


def write_record(path: Path, record: FileRecord) -> None:
    """Write a record as readable JSON, whole or not at all. Raises RunDirectoryError."""
    write_bytes_atomic(path, json_bytes(json_of(record)) + b"\n")


def read_record(path: Path, kind: type[R], *, next_step: str | None = None) -> R:
    """A JSON file as a record of this kind.

    Args:
        next_step: what the user can do where the file cannot be read; None for the kind's own.

    Raises:
        RunDirectoryError: it is missing, broken, of another version, or a field is missing or of another kind; the
            message names file and field (checks.0.name is the name of the first of checks).
    """
    next_step = kind.NEXT_STEP if next_step is None else next_step
    return record_of(read_json(path, next_step=next_step), kind, path, lambda field: next_step)


def read_optional(path: Path, kind: type[R], *, next_step: str | None = None) -> R | None:
    """As `read_record`; None where there is no such file."""
    return read_record(path, kind, next_step=next_step) if path.is_file() else None


def record_of(value: Any, kind: type[R], path: Path, next_step: Callable[[str], str]) -> R:
    """What was read from a file as a record.

    Args:
        next_step: what the user can do about a field.

    Raises:
        RunDirectoryError: as `read_record`.
    """
    try:
        return msgspec.convert(value, kind, str_keys=True, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        field, words = _refusal(str(error), value, kind)
        raise RunDirectoryError(f"{path}: field {field} {words}. {next_step(field)}") from error
    except OptionError as error:
        raise RunDirectoryError(f"{path}: field options: {error} {next_step('options')}") from error


def _decoded(kind: type, value: Any) -> Any:
    """What msgspec knows no type of: paths, stored as text."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")


def _refusal(message: str, value: Any, kind: type[FileRecord]) -> tuple[str, str]:
    """The field that msgspec's message means, and what is wrong with it."""
    said, _, at = message.partition(" - at `$")
    names: list[str] = []
    place: Any = value
    node: inspect.Type = inspect.type_info(kind)
    for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+|\.\.\.)\]", at):
        key: Any = name or (int(index) if index != "..." else _wrong_key(place, value, kind, message))
        node, place = _inside(node, key), place[key]
        names.append(str(key))
    if missing := re.fullmatch(r"Object missing required field `(.+)`", said):
        return ".".join([*names, missing[1]]), "is missing"
    if said.endswith(("of length >= 1", "of length >= 1, got 0")):
        return ".".join(names), "is empty"
    length = re.search(r"of length (\d+)", said)
    return ".".join(names), f"is not {_words(node)}{f' of {length[1]}' if length else ''}"


def _wrong_key(mapping: dict[str, Any], value: Any, kind: type[FileRecord], message: str) -> str:
    """The key of a mapping, inside `value`, whose value is refused: the one that alone gives the message."""
    items = dict(mapping)
    for key, inside in items.items():
        mapping.clear()
        mapping[key] = inside
        try:
            msgspec.convert(value, kind, str_keys=True, dec_hook=_decoded)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return key
    raise AssertionError(f"{message}: no key gives it alone")


def _inside(node: inspect.Type, key: str | int) -> inspect.Type:
    """The type of a field, an item or a value."""
    lists = (inspect.ListType, inspect.TupleType, inspect.VarTupleType)
    mappings = (inspect.StructType, inspect.DataclassType, inspect.DictType)
    if isinstance(node, inspect.UnionType):
        node = next(part for part in node.types if isinstance(part, lists if isinstance(key, int) else mappings))
    if isinstance(node, inspect.StructType | inspect.DataclassType):
        return next(field.type for field in node.fields if field.encode_name == key)
    if isinstance(node, inspect.DictType):
        return node.value_type
    if isinstance(node, inspect.TupleType) and isinstance(key, int):
        return node.item_types[key]
    assert isinstance(node, inspect.ListType | inspect.VarTupleType), node
    return node.item_type


_WORDS: dict[type[inspect.Type], str] = {
    inspect.FloatType: "a number",
    inspect.StrType: "a text",
    inspect.BoolType: "true or false",
    inspect.NoneType: "null",
    inspect.ListType: "a list",
    inspect.TupleType: "a list",
    inspect.VarTupleType: "a list",
    inspect.CustomType: "a text",
}


def _words(node: inspect.Type) -> str:
    """What a value of this type is."""
    if isinstance(node, inspect.UnionType):
        # Any number is a whole one or not.
        has_float = any(isinstance(part, inspect.FloatType) for part in node.types)
        parts = [part for part in node.types if not (has_float and isinstance(part, inspect.IntType))]
        return " or ".join(dict.fromkeys(map(_words, parts)))
    if isinstance(node, inspect.IntType):
        return "a whole number" if node.ge is None else f"a whole number from {node.ge}"
    if isinstance(node, inspect.FloatType) and node.le is not None:
        return f"a number from {node.ge} to {node.le}"
    if isinstance(node, inspect.LiteralType):
        return " or ".join(json.dumps(value) for value in node.values)
    return _WORDS.get(type(node), "a mapping")
