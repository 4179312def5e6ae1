"""Tokenizers with rows of small bases swapped, by the sweep and merge of a user."""

from pathlib import Path

from conftest import sweep
from helpers import CORPUS

from vocabopt.merging.run import merge_run


def swapped(base: Path, n: int, folder: Path) -> Path:
    """The folder of a tokenizer in which `n` rows of a base that the sample corpus's English needs least are Korean."""
    run = sweep(
        folder / "run",
        str(base),
        CORPUS / "ko",
        method="swap",
        keeps={"en": str(CORPUS / "en")},
        sizes=f"0,{n}",
        max_swap=n,
    )
    merge_run(run.out, folder / "tokenizer", n_added=n)
    return folder / "tokenizer"
