"""Cleaning text before it is counted: a chain of steps, each measured by what it takes."""

#: Every step, in the order in which a chain usually has them; here, where naming them imports nothing.
STEP_NAMES = (
    *("repair", "nfc", "lines", "script", "length", "repetition", "perplexity", "decontaminate", "personal"),
    *("exact", "exact_paragraphs", "near", "near_paragraphs", "select"),
)
#: Repairs, masks personal data, removes exact and near copies: nothing that could be a matter of taste.
DEFAULT_STEPS = ("repair", "nfc", "personal", "exact", "near")
