"""What is proved of a merged tokenizer before a file of it is written: on its ids, and on the text that was counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from vocabopt.errors import PromiseError, RunDirectoryError
from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.grow import protected_chunks
from vocabopt.growth.proof import changed_chunks, count_documents, missing_chunk, prove_documents, recount
from vocabopt.growth.proof_sample import PROOF_PARQUET, read_proof_sample
from vocabopt.merging.extension import Addition
from vocabopt.records import DocumentProof
from vocabopt.run_directory import read_counts, read_run
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.tokenizer.model_check import Difference, differences, foreign_tokens

_REPORT = "Nothing was written; please report this with the base."


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was proved of a merged tokenizer on the counted text.

    encoder: the library that encoded it.
    n_tokens: tokens per text set; n_tokens_promised: what the sweep counted, None where it promised nothing.
    n_protected_chunks, n_changed_chunks: unique chunks that must not change, and those that did.
    documents: the proof on whole documents.
    token_counts: per text set how often each new token occurs in it.
    """

    encoder: str
    n_tokens: Mapping[str, int]
    n_tokens_promised: Mapping[str, int] | None
    n_protected_chunks: int
    n_changed_chunks: int
    documents: DocumentProof
    token_counts: Mapping[str, list[int]]

    def as_record(self) -> dict[str, Any]:
        """What extension.json holds; the counts stand there with each token."""
        names = ("encoder", "n_tokens", "n_tokens_promised", "n_protected_chunks", "n_changed_chunks")
        return {**{name: getattr(self, name) for name in names}, "documents": self.documents.as_record()}


def check_ids(base: Tokenizer, merged: Tokenizer, n_added: int) -> None:
    """P2, as the library has it once loaded: base ids spell what they did, and the new ids follow them without a gap.

    Raises:
        PromiseError: they do not.
    """
    before, after = base.full.get_vocab(with_added_tokens=True), merged.full.get_vocab(with_added_tokens=True)
    changed = [piece for piece, index in before.items() if after.get(piece) != index]
    new = sorted(index for piece, index in after.items() if piece not in before)
    if changed or new != list(range(base.n_tokens, base.n_tokens + n_added)):
        raise PromiseError(
            f"{base.name} with {n_added:,} added tokens: {len(changed)} ids of the base changed "
            f"({', '.join(map(repr, changed[:3]))}), {len(new):,} ids are new. {_REPORT}"
        )


def prove(
    run_dir: Path,
    base: Tokenizer,
    merged: Tokenizer,
    tokenizer_json: bytes,
    *,
    scripts: tuple[str, ...],
    promised: Mapping[str, int] | None,
    cross_spaces: bool,
) -> Proof:
    """Encode the text of a run with the merged tokenizer: its counts must be those promised (P1), and protected chunks
    must not change (P3).

    All counted chunks are encoded; and whole documents, as they were read, with the file that is written, beside what
    their chunks say.

    Args:
        tokenizer_json: the file as it will be written.
        promised: tokens per text set; None where the sweep promised none, and then protected chunks may change.
        cross_spaces: as the text was counted.

    Returns:
        What was proved, and how often each new token occurs.

    Raises:
        RunDirectoryError: the counts of the run or its documents are not there, or not whole.
        PromiseError: a count, a document or a protected chunk differs.
    """
    inputs_sha256 = read_run(run_dir).inputs_sha256
    counts = read_counts(run_dir, inputs_sha256)
    if counts is None:
        raise RunDirectoryError(
            f"{run_dir / 'counts.parquet'}: is missing, broken or of another run, so nothing could be proved of the "
            "merged tokenizer. Sweep again into this folder."
        )
    documents = _prove_documents(
        run_dir, inputs_sha256, base, merged, counts, tokenizer_json, cross_spaces=cross_spaces
    )
    weights = counts.weights()
    counted = recount(merged, counts, weights)
    found = counted.n_tokens(counts)
    if promised is not None and found != promised:
        raise PromiseError(f"{base.name}: the sweep counted {promised}, the merged tokenizer gives {found}. {_REPORT}")
    protected_sets = [i for i, stats in enumerate(counts.sets.values()) if stats.role == "protected"]
    protected = np.flatnonzero(protected_chunks(counts, weights, protected_sets, scripts))
    changed = changed_chunks(base, merged, counts, protected)
    if promised is not None and changed:
        raise PromiseError(f"{base.name}: {len(changed):,} protected chunks changed, {changed[:3]}. {_REPORT}")
    new = counted.token_counts[:, base.n_tokens :]
    return Proof(
        encoder=counted.encoder,
        n_tokens=found,
        n_tokens_promised=None if promised is None else dict(promised),
        n_protected_chunks=len(protected),
        n_changed_chunks=len(changed),
        documents=documents,
        token_counts={name: new[i].tolist() for i, name in enumerate(counts.sets)},
    )


def _prove_documents(
    run_dir: Path,
    inputs_sha256: str,
    base: Tokenizer,
    merged: Tokenizer,
    counts: ChunkCounts,
    tokenizer_json: bytes,
    *,
    cross_spaces: bool,
) -> DocumentProof:
    """The proof on whole documents: those that the sweep kept, which the counted text must hold."""
    sample = read_proof_sample(run_dir, inputs_sha256)
    if sample is None:
        raise RunDirectoryError(
            f"{run_dir / PROOF_PARQUET}: is missing, broken or of another run (earlier versions kept none), so that "
            "the counts could not be proved on whole documents. Sweep again into this folder, or, where an earlier "
            "version made it, into a new one."
        )
    counted = count_documents(base, sample, cross_spaces=cross_spaces)
    if (missing := missing_chunk(counted, sample, counts)) is not None:
        raise PromiseError(f"{base.name}: the part {missing!r} of a document is not in the counted text. {_REPORT}")
    # What will be written, to the byte, but without what it says of batches.
    tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return prove_documents(tokenizer, merged, counted, sample, what=f"{base.name} with added tokens")


# --- tokenizer.model --------------------------------------------------------------------------------------------------


def prove_model(
    base: Tokenizer, merged: Tokenizer, addition: Addition, model: bytes, texts: Iterable[str]
) -> str | None:
    """P6: compare the merged model and tokenizer.json on the built-in hard text, the new pieces' own text, and `texts`.

    Where the base's two files differ themselves, the merged ones may, on the same text and by none of the new tokens.

    Args:
        model: the merged tokenizer.model.

    Returns:
        A sentence on such text, with an example; None where there is none.

    Raises:
        PromiseError: another text is encoded otherwise.
    """
    own = (text.decode(errors="ignore") for text in addition.texts)
    foreign = foreign_tokens(base)
    judged = [text for text in chain(hard_strings(), own, texts) if not any(token in text for token in foreign)]
    found = [*differences(merged.full, model, judged)]
    excused = {} if base.written == "tokenizer.model" else _of_base(base, [difference.text for difference in found])
    new = {*addition.pieces}
    for difference in found:
        one, other = ([piece for piece in side if piece in new] for side in (difference.by_model, difference.by_json))
        if difference.text not in excused or one != other:
            raise PromiseError(
                f"{base.name} with {addition.n_added:,} added tokens: its tokenizer.model is not its tokenizer.json: "
                f"{difference.sentence()}. Nothing was written; {_next_step(base)}."
            )
    if not found:
        return None
    return (
        f"{base.name}: its tokenizer.model is not its tokenizer.json ({excused[found[0].text].sentence()}), so the "
        f"merged ones differ as well, on {len(found):,} of {len(judged):,} texts, by no new token. What is counted is "
        "tokenizer.json."
    )


def _next_step(base: Tokenizer) -> str:
    if base.written == "tokenizer.model":
        return "please report this with the base"
    return "pass the base's tokenizer.json alone, which is what is grown, or its tokenizer.model alone"


def _of_base(base: Tokenizer, texts: list[str]) -> dict[str, Difference]:
    assert base.sentencepiece_model is not None
    return {found.text: found for found in differences(base.full, base.sentencepiece_model, texts)}
