"""Curves that several tests take: a published one, and a power law."""

# A public cut-off report on extending an English-centric tokenizer to Greek: tokens per word, the mean of three
# held-out sets, at 0, 1,024, 2,048 ... 25,600 added tokens.
GREEK_TOKENS_PER_WORD: tuple[float, ...] = (
    2.4127, 2.0893, 1.9338, 1.8279, 1.7466, 1.6826, 1.6314, 1.5894, 1.5535, 1.5228, 1.4955, 1.4712, 1.4498,
    1.4300, 1.4125, 1.3973, 1.3829, 1.3697, 1.3572, 1.3459, 1.3354, 1.3252, 1.3160, 1.3072, 1.2991, 1.2909,
)  # fmt: skip
GREEK_SIZES = range(0, 25_601, 1_024)
