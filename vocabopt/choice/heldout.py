"""How much held-out text a choice rests on, and what is said where it is little."""

from collections.abc import Mapping
from typing import Any

from vocabopt.amounts import counted

#: Held-out documents below which a choice is said to rest on few.
MIN_HELDOUT_DOCUMENTS = 30


def small_heldout_sentence(sweep: Mapping[str, Any]) -> str | None:
    """A warning where the choice was made on few held-out documents, None where it was not.

    Args:
        sweep: `sets` and `choice` of sweep.json.
    """
    stats = sweep["sets"].get(sweep["choice"].get("set"), {})
    n = stats.get("n_documents", 0)
    if stats.get("role") != "heldout" or not 0 < n < MIN_HELDOUT_DOCUMENTS:
        return None
    return (
        f"Warning: the choice rests on {counted(n, 'held-out document')}, fewer than {MIN_HELDOUT_DOCUMENTS}: other "
        "documents may give another size. Hold out more with --heldout, or give more text."
    )
