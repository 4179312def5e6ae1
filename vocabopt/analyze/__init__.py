"""Any tokenizers side by side on the same text: what they cost, what they cut, what of them is used.

    options -> subjects (tokenizers) -> text (what the sets hold) -> measure (tokens and words) -> run (the record)
            -> tables (terminal), page and charts (analyze.html, figures)

The defaults stand here, where reading them imports nothing: the command line shows them in its help.
"""

#: A token seen, but fewer times than this, counts as rarely used.
DEFAULT_RARE = 10
#: Documents of a Korean text set whose morphemes are looked at.
DEFAULT_MORPHEME_DOCUMENTS = 1_000
