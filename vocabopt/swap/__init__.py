"""Rows swapped at constant size: rows of the base that kept text needs least are freed, and take new pieces."""

#: What was measured at each size, and the rows in the order in which they are freed (`run.run_swap`).
SWAP_JSON = "swap.json"
#: Rows to swap at most, where nothing else is said.
DEFAULT_MAX_SWAP = 8_000
#: How much a token more in kept text counts beside one less in the target, both as shares of their text.
DEFAULT_KEEP_WEIGHT = 1.0
