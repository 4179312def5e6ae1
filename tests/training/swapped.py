"""A swapped tokenizer made with the `tokenizers` library's own file alone: same ids, some with other pieces."""

import copy
import json
from pathlib import Path

from conftest import Run
from helpers import has_hangul

from vocabopt.merging.extension import EXTENSION_JSON, Addition, extension_bytes, extension_record, grown


def swapped(run: Run, n: int, folder: Path) -> Path:
    """The first `n` pieces of a curve in the place of pieces of the base that no merge builds on.

    They take the ids of every third such piece, Hangul first, so that the reused rows lie apart.
    """
    base, addition = run.base, grown(run.base, run.curve, n)
    assert addition.merges is not None
    value = copy.deepcopy(dict(base.tokenizer_json))
    model = value["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    parts = {part for pair in [*merges, *addition.merges] for part in pair}
    made = {left + right for left, right in merges}
    contents = {token["content"] for token in base.added_tokens}
    leaves = [piece for piece in model["vocab"] if piece in made and piece not in parts and piece not in contents]
    freed = sorted(leaves[::3], key=lambda piece: not has_hangul(base.text_of(piece).decode(errors="ignore")))[:n]
    assert len(freed) == n, len(leaves)
    ids = [model["vocab"].pop(piece) for piece in freed]
    model["vocab"] |= dict(zip(addition.pieces, ids, strict=True))
    model["merges"] = [list(pair) for pair in merges if "".join(pair) not in freed] + [list(p) for p in addition.merges]
    swap = Addition(
        method="swap", pieces=addition.pieces, texts=addition.texts, merges=addition.merges, reused=tuple(ids)
    )
    n_rows = max(base.model_n_rows or 0, base.n_tokens)
    record = extension_record(base, swap, scripts=("Hangul",), base_n_rows=n_rows, pad_to=None, counts={}, proof=None)
    folder.mkdir(parents=True)
    for name, data in base.companions.items():
        (folder / name).write_bytes(data)
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    (folder / EXTENSION_JSON).write_bytes(extension_bytes(record))
    return folder
