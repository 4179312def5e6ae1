"""What is proved of a merged tokenizer before a file of it is written: on its ids, and on the text that was counted."""

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import tokenizers

from vocabopt.errors import PromiseError, RunDirectoryError
from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.grow import protected_chunks
from vocabopt.growth.proof import changed_chunks, count_documents, missing_chunk, prove_documents, recount
from vocabopt.growth.proof_sample import PROOF_PARQUET, Sample, read_proof_sample
from vocabopt.merging.extension import Addition, Proof
from vocabopt.records import SweepRecord
from vocabopt.run_directory import read_counts, read_run
from vocabopt.targets import with_sums
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.tokenizer.model_check import Difference, differences, foreign_tokens

_REPORT = "Nothing was written; please report this with the base."


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


def counted_text(run_dir: Path) -> tuple[ChunkCounts, Sample]:
    """The counts of a run, and the whole documents that it kept.

    Raises:
        RunDirectoryError: they are not there, or not whole.
    """
    inputs_sha256 = read_run(run_dir).inputs_sha256
    if (counted := read_counts(run_dir, inputs_sha256)) is None:
        raise RunDirectoryError(
            f"{run_dir / 'counts.parquet'}: is missing, broken or of another run, so nothing could be proved of the "
            "merged tokenizer. Sweep again into this folder."
        )
    if (sample := read_proof_sample(run_dir, inputs_sha256)) is None:
        raise RunDirectoryError(
            f"{run_dir / PROOF_PARQUET}: is missing, broken or of another run (earlier versions kept none), so that "
            "the counts could not be proved on whole documents. Sweep again into this folder, or, where an earlier "
            "version made it, into a new one."
        )
    return counted[0], sample


def prove(
    sweep: SweepRecord,
    base: Tokenizer,
    merged: Tokenizer,
    addition: Addition,
    tokenizer_json: bytes,
    counts: ChunkCounts,
    sample: Sample,
    promised: Mapping[str, int] | None,
    *,
    as_it_is: Tokenizer,
) -> tuple[Proof, dict[str, list[int]]]:
    """Encode the text of a run with the merged tokenizer: its counts must be those promised (P1), and protected chunks
    must not change (P3) where tokens were grown behind the base's.

    All counted chunks are encoded; and whole documents, as they were read, with the file that is written, beside what
    their chunks say.

    Args:
        tokenizer_json: the file as it will be written.
        promised: tokens per text set; None where the sweep promised none.
        as_it_is: the base before its split pattern was widened, or `base`: protected chunks must not change from it.

    Returns:
        What was proved; and per text set how often each new token occurs in it.

    Raises:
        PromiseError: a count, a document or a protected chunk differs.
    """
    documents = count_documents(base, sample, cross_spaces=sweep.options.cross_spaces)
    missing = missing_chunk(documents, sample, counts) if sweep.learned.is_all else None
    if missing is not None:
        raise PromiseError(f"{base.name}: the part {missing!r} of a document is not in the counted text. {_REPORT}")
    # What will be written, to the byte, but without what it says of batches.
    tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    proved = prove_documents(tokenizer, merged, documents, sample, what=f"{base.name} with added tokens")
    weights = counts.weights()
    counted = recount(merged, counts, weights)
    found = with_sums(counted.n_tokens(counts), sweep.targets)
    if promised is not None and found != promised:
        raise PromiseError(f"{base.name}: the sweep counted {promised}, the merged tokenizer gives {found}. {_REPORT}")
    protected_sets = [i for i, stats in enumerate(counts.sets.values()) if stats.role == "protected"]
    protected = np.flatnonzero(protected_chunks(counts, weights, protected_sets, sweep.scripts))
    changed = changed_chunks(as_it_is, merged, counts, protected)
    if addition.method == "grow" and changed:
        raise PromiseError(f"{base.name}: {len(changed):,} protected chunks changed, {changed[:3]}. {_REPORT}")
    new = counted.token_counts[:, list(addition.ids(base))]
    proof = Proof(
        encoder=counted.encoder,
        n_tokens=found,
        n_tokens_promised=None if promised is None else dict(promised),
        n_protected_chunks=len(protected),
        n_changed_chunks=len(changed),
        documents=proved,
    )
    return proof, {name: new[i].tolist() for i, name in enumerate(counts.sets)}


def prove_model(
    base: Tokenizer, merged: Tokenizer, addition: Addition, files: Mapping[str, bytes], texts: Iterable[str]
) -> str | None:
    """P6: compare the merged model and tokenizer.json on the built-in hard text, the new pieces' own text, and `texts`.

    Where the base's two files differ themselves, the merged ones may, on the same text and by none of the new tokens.
    Pieces with the score 0 are the publishers' way, which the two forms take differently: verify counts where.

    Args:
        files: of the merged tokenizer.

    Returns:
        A sentence on such text, with an example; None where there is none, or no model.

    Raises:
        PromiseError: another text is encoded otherwise.
    """
    if base.sentencepiece_model is None or addition.scores == "zero":
        return None
    model = files[next(form.file_name for form in base.originals if form.kind == "tokenizer.model")]
    own = (text.decode(errors="ignore") for text in addition.texts)
    foreign = foreign_tokens(base)
    judged = [text for text in chain(hard_strings(), own, texts) if not any(token in text for token in foreign)]
    found = [*differences(merged.full, model, judged)]
    excused: dict[str, Difference] = {}
    next_step = "please report this with the base"
    if base.written != "tokenizer.model":
        of_base = differences(base.full, base.sentencepiece_model, [difference.text for difference in found])
        excused = {difference.text: difference for difference in of_base}
        next_step = "pass the base's tokenizer.json alone, which is what is grown, or its tokenizer.model alone"
    new = {*addition.pieces}
    for difference in found:
        one, other = ([piece for piece in side if piece in new] for side in (difference.by_model, difference.by_json))
        if difference.text not in excused or one != other:
            raise PromiseError(
                f"{base.name} with {addition.n_added:,} added tokens: its tokenizer.model is not its tokenizer.json: "
                f"{difference.sentence()}. Nothing was written; {next_step}."
            )
    if not found:
        return None
    return (
        f"{base.name}: its tokenizer.model is not its tokenizer.json ({excused[found[0].text].sentence()}), so the "
        f"merged ones differ as well, on {len(found):,} of {len(judged):,} texts, by no new token. What is counted is "
        "tokenizer.json."
    )
