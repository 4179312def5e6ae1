"""Names that counting and deciding share; apart, since deciding must not wait for what counting compiles."""

TRAIN, HELDOUT = "train", "heldout"
#: Folds of the documents, by content hash: what resampling draws from.
N_FOLDS = 32
#: Shares of the documents are bounds of their content hash, in parts of this.
N_BELOW = 1 << 16
