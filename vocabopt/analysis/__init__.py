"""Any tokenizers side by side on the same text: what they cost, what they cut, what of them is used.

options -> subjects (tokenizers) -> text (what the sets hold) -> measure (tokens and words) -> run (the record)
        -> tables (terminal), page and charts (analyze.html, figures)
"""
