"""Write the base tokenizer with the first N tokens of a curve merged in, as a Hugging Face folder.

Nothing of the base changes: its ids, merges, added tokens, normaliser, pre-tokenizer and template stay; new pieces
get the ids after its last, new merges come after its last, in the order in which the curve added them.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
from tokenizers import Tokenizer

from vocabopt.artifacts import check_writable, read_json, write_bytes_atomic, write_json_atomic
from vocabopt.bases import Base, load_base
from vocabopt.errors import OptionError, PromiseError, RunDirectoryError

#: A class that takes tokenizer.json as it is. Named classes of transformers 5 (LlamaTokenizer, ...) rebuild the
#: pipeline, and drop spaces on some tokenizers.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"
#: Names of Python code that would be run instead of tokenizer.json.
_CODE_FIELDS = ("auto_map", "tokenizer_file", "vocab_file", "merges_file")


def merged_tokenizer_json(base: Base, curve: pl.DataFrame, n_added: int) -> dict[str, Any]:
    """tokenizer.json of the base with the first `n_added` rows of `curve` merged in."""
    model = base.tokenizer_json["model"]
    vocab = dict(model["vocab"])
    # tokenizers numbers added tokens that the vocabulary lacks anew, after its last: so it is given them all.
    for token in base.tokenizer_json.get("added_tokens", []):
        vocab.setdefault(token["content"], token["id"])
    spelling = {index: piece for piece, index in vocab.items()}
    merges = [list(pair) for pair in model["merges"]]
    rows = curve.head(n_added).select("rank", "piece", "left", "right", "opened")
    for rank, piece, left, right, opened in rows.iter_rows():
        index = base.n_tokens + rank - 1
        vocab[piece] = index
        spelling[index] = piece
        if left >= 0:
            merges.append([spelling[left], spelling[right]])
        # Pieces that the base had but its merges could not reach, and now can.
        merges.extend([spelling[a], spelling[b]] for a, b, _ in opened)
    return {**base.tokenizer_json, "model": {**model, "vocab": vocab, "merges": merges}}


def tokenizer_config(base: Base) -> dict[str, Any]:
    """tokenizer_config.json of the merged tokenizer: the base's own, made to load tokenizer.json as it is."""
    if "tokenizer_config.json" in base.companions:
        config: dict[str, Any] = json.loads(base.companions["tokenizer_config.json"])
        config = {key: value for key, value in config.items() if key not in _CODE_FIELDS}
    else:
        config = {"clean_up_tokenization_spaces": False, "model_max_length": 10**30, **base.special_names}
    return {**config, "tokenizer_class": TOKENIZER_CLASS}


def write_tokenizer(base: Base, curve: pl.DataFrame, n_added: int, out: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the base's companion files to the folder `out`.

    Raises:
        RunDirectoryError: `out` cannot be written, or holds another tokenizer.
    """
    tokenizer = Tokenizer.from_str(json.dumps(merged_tokenizer_json(base, curve, n_added)))
    _check_ids(base, tokenizer, n_added)
    merged = tokenizer.to_str(pretty=True).encode()
    existing = out / "tokenizer.json"
    if existing.is_file() and existing.read_bytes() != merged:
        raise RunDirectoryError(
            f"{existing}: is there already and differs. Choose another folder with --out, or remove that one."
        )
    check_writable(out)
    for name, data in base.companions.items():
        if name != "tokenizer_config.json":
            write_bytes_atomic(out / name, data)
    write_json_atomic(out / "tokenizer_config.json", tokenizer_config(base))
    write_bytes_atomic(existing, merged)


def _check_ids(base: Base, merged: Tokenizer, n_added: int) -> None:
    """P2, as the library has it once loaded: base ids spell what they did, and the new ids follow them without a gap.

    Raises:
        PromiseError: they do not.
    """
    before, after = base.full.get_vocab(with_added_tokens=True), merged.get_vocab(with_added_tokens=True)
    changed = [piece for piece, index in before.items() if after.get(piece) != index]
    new = sorted(index for piece, index in after.items() if piece not in before)
    if changed or new != list(range(base.n_tokens, base.n_tokens + n_added)):
        raise PromiseError(
            f"{base.name} with {n_added:,} added tokens: {len(changed)} ids of the base changed "
            f"({', '.join(map(repr, changed[:3]))}), {len(new):,} ids are new. Nothing was written; please report this "
            "with the base."
        )


def merge_run(run_dir: Path, n_added: int | None, out: Path) -> int:
    """Merge the first `n_added` tokens of a finished sweep (None: its choice) and write the tokenizer to `out`.

    Returns:
        The number of tokens merged.

    Raises:
        RunDirectoryError: no finished sweep in `run_dir`, or the base changed since.
        OptionError: the size is outside the curve.
    """
    if out.resolve() == run_dir.resolve():
        raise RunDirectoryError(
            f"--out {out}: is the run directory itself. Name a folder of its own, for example {out / 'tokenizer'}."
        )
    sweep = read_json(run_dir / "sweep.json", next_step="Run `vocabopt sweep ... --out` with this folder first.")
    curve = read_curve(run_dir, sweep["curve_sha256"])
    if n_added is None:
        n_added = int(sweep["choice"]["n_added"])
    if not 0 <= n_added <= len(curve):
        end = ("it ends" if sweep["exhausted_at"] is None else "the text ran dry") + f" at {len(curve):,}"
        raise OptionError(
            f"--size {n_added}: outside the curve of {run_dir}: {end}. Choose 0 to {len(curve):,}, or sweep again "
            "with more text or a larger --max-added."
        )
    base = load_base(sweep["base"]["source"])
    if base.sha256 != sweep["base"]["sha256"]:
        raise RunDirectoryError(
            f"{sweep['base']['source']}: changed since the sweep in {run_dir} (sha256 {base.sha256[:12]}..., then "
            f"{sweep['base']['sha256'][:12]}...). Sweep again, or restore the base."
        )
    write_tokenizer(base, curve, n_added, out)
    return n_added


def read_curve(run_dir: Path, sha256: str) -> pl.DataFrame:
    """The growth curve of a finished sweep, which sweep.json names by its hash.

    Raises:
        RunDirectoryError: it is not there, broken, or of another run than sweep.json.
    """
    path = run_dir / "curve.parquet"
    try:
        data = path.read_bytes()
        curve = pl.read_parquet(io.BytesIO(data))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error}). Sweep again into this folder.") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RunDirectoryError(
            f"{path}: is not the curve that sweep.json was made from (a run was interrupted between the two). "
            "Sweep again into this folder."
        )
    return curve
