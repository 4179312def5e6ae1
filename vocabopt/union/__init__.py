"""The union of a base with a vocabulary trained apart: what RedWhale and Chinese-LLaMA do, measured next to growing."""

#: The vocabulary as it was trained, or given with --vocab.
UNION_MODEL = "union.model"
#: What was measured of it (`run.run_union`).
UNION_JSON = "union.json"
#: Where not all text fits into memory: the counts of each size in all of it, and which shards are in them.
UNION_COUNTS_NPZ = "union_counts.npz"
