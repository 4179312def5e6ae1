"""The files that the union method leaves in a run directory."""

#: The vocabulary as it was trained, or given with --vocab.
UNION_MODEL = "union.model"
#: What was measured of it (`run.run_union`).
UNION_JSON = "union.json"
