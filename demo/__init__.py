"""A small base model made on the spot, so that the whole path runs without a download.

    text -> held out by content -> SentencePiece BPE -> model from its config -> trained -> a Hugging Face folder

`python -m demo` makes the base; `python -m demo.story` is `make adapt`: base, sweep, merge, adapt.
"""
