"""Names that counting and deciding share; apart, since deciding must not wait for what counting compiles."""

TRAIN, HELDOUT = "train", "heldout"
#: Folds of the documents, by content hash: what resampling draws from.
N_FOLDS = 32
