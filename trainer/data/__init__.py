"""Training text: which documents each stage reads, and their token ids on disk.

documents  sources and their shares; what is held out; budgets; pass one: a hash and a size of every document
text_plan  which document goes to which stage, by bytes, whatever the tokenizer
encoder    documents to token ids
shards     the documents of a stage to token ids, on all cores
packing    pass two: token ids of a stage on disk; blocks, labels and positions; how often new tokens occur
collate    batches for a model, with documents kept apart
"""

from trainer.data.documents import (
    Budget,
    HeldOut,
    ScannedSource,
    TextSource,
    hashes_of_documents,
    held_out_documents,
    parse_budget,
    scan_text,
    target_and_replays,
)
from trainer.data.encoder import DocumentEncoder, budget_in_bytes
from trainer.data.packing import PackedText, exposure, occurrences, pack_stage, pack_stages
from trainer.data.text_plan import TextPlan, cut_text

__all__ = [
    "Budget",
    "DocumentEncoder",
    "HeldOut",
    "PackedText",
    "ScannedSource",
    "TextPlan",
    "TextSource",
    "budget_in_bytes",
    "cut_text",
    "exposure",
    "hashes_of_documents",
    "held_out_documents",
    "occurrences",
    "pack_stage",
    "pack_stages",
    "parse_budget",
    "scan_text",
    "target_and_replays",
]
