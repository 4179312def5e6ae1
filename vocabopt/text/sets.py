"""Names that counting and deciding share; apart, since deciding must not wait for what counting compiles.

What is learned from is the set train, and what was held out of it heldout. Of several targets each has its own,
train_ko and heldout_ko; train and heldout are then their sums.
"""

TRAIN, HELDOUT = "train", "heldout"
#: Aligned text of a language, as aligned_ko; and held-out text of all targets, each as often as its weight.
ALIGNED, WEIGHTED = "aligned", "weighted"
#: Folds of the documents, by content hash: what resampling draws from.
N_FOLDS = 32
#: Shares of the documents are bounds of their content hash, in parts of this.
N_BELOW = 1 << 16


def set_of(part: str, target: str) -> str:
    """The text set of one of several targets: "train" of "ko" is train_ko."""
    return f"{part}_{target}"
