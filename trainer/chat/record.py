"""chat_vector.json: what was added to which rows, and what it did to bits per byte and to chat prompts."""

from collections.abc import Iterator
from typing import Any, ClassVar

from vocabopt.records import Count, FileRecord, Record
from vocabopt.tables import PlainTable, shown

CHAT_VECTOR_JSON = "chat_vector.json"


class StartedRecord(FileRecord, frozen=True, kw_only=True):
    """The file while the model is written. status: "running" or "finished"."""

    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    status: str
    command: dict[str, Any]


class TemplateCheck(Record, frozen=True, kw_only=True):
    """Chat prompts of the instruct model's templates, rendered for a few conversations.

    n_same_text: prompts that the tokenizer renders as the instruct model's does. n_without_target: those without a
    character of the target script; n_same_ids: of these, those that both encode alike.
    """

    n_prompts: Count
    n_same_text: Count
    n_without_target: Count
    n_same_ids: Count


class ChatVectorRecord(StartedRecord, frozen=True, kw_only=True):
    n_params: Count
    n_rows: Count
    #: Rows of the base's tokens and of new ones that the difference was added to, and rows that are the instruct
    #: model's own, by the ids of the special tokens.
    n_old_rows: Count
    n_new_rows: Count
    special_ids: tuple[int, ...]
    #: Norm of what was added over the norm of the weights that it was added to, tables left out.
    relative_norm: float
    #: Text -> bits per byte.
    before: dict[str, float]
    after: dict[str, float]
    template_before: TemplateCheck
    template_after: TemplateCheck
    #: Sentences on what the three models have otherwise than each other.
    notes: tuple[str, ...]
    versions: dict[str, str]


def chat_tables(record: ChatVectorRecord, width: int) -> Iterator[Any]:
    """For the terminal."""
    if record.before:
        yield PlainTable(
            caption="Bits per byte",
            headers=("text", "adapted", "with the\nchat vector"),
            rows=[(name, f"{bits:.4f}", shown(record.after.get(name), ".4f")) for name, bits in record.before.items()],
        ).for_terminal(width)
    before, after = record.template_before, record.template_after
    yield (
        f"Chat prompts as the instruct model has them: {after.n_same_text:,} of {after.n_prompts:,} render the same, "
        f"and {after.n_same_ids:,} of the {after.n_without_target:,} without the target's characters give the same ids "
        f"(before: {before.n_same_text:,} and {before.n_same_ids:,})."
    )
    yield (
        f"Added to {record.n_old_rows:,} rows of the base's tokens and {record.n_new_rows:,} new ones; "
        f"{len(record.special_ids):,} rows of special tokens are the instruct model's. What was added has "
        f"{record.relative_norm:.2%} of the norm of the weights outside of the tables."
    )
    yield from record.notes
