"""`vocabopt sensitivity`: every corpus counted once, then a curve for each and for all together."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vocabopt.artifacts import (
    FORMAT_VERSION,
    check_own_folder,
    digest,
    read_json,
    write_json_atomic,
    write_parquet_atomic,
)
from vocabopt.choice.complexity import EmbeddingTable, table_of_base
from vocabopt.choice.run import choice_records
from vocabopt.console import Console
from vocabopt.errors import CorpusError, RunDirectoryError
from vocabopt.growth.counts import ChunkCounts, SetStats, char_counts, count_chunks, count_words
from vocabopt.growth.document_proof import prove_base
from vocabopt.growth.grow import GrowthOptions, grow
from vocabopt.growth.guard import guard_record, guard_sentences
from vocabopt.growth.proof_sample import ProofSample, Sample
from vocabopt.growth.segment import segment
from vocabopt.options import SensitivityOptions
from vocabopt.sensitivity.compare import TOGETHER, Grown, compared_size, lost, shared
from vocabopt.sensitivity.pool import select
from vocabopt.text.corpus import TextSet, corpus_set, fingerprint, n_stored_bytes, tell_same_content, tell_shared
from vocabopt.text.documents import documents_of_sets
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.tokenizer import Base, load_base
from vocabopt.tokenizer.pretokens import refine
from vocabopt.versions import versions

SENSITIVITY_JSON = "sensitivity.json"
_HELDOUT_OF = "heldout:{}"


def run_sensitivity(options: SensitivityOptions, console: Console) -> dict[str, Any]:
    """Measure all corpora and write sensitivity.json and curves/.

    Returns:
        What sensitivity.json holds.

    Raises:
        VocaboptError: any of its kinds; the message names the value, the place and the next step.
    """
    scripts = parse_scripts(options.scripts)
    base = load_base(options.base, pattern=options.pattern, specials=options.specials)
    table = table_of_base(base, options.model)
    text_sets = tuple(corpus_set(name, path, options.read) for name, path in options.corpora.items())
    tell_shared(text_sets)
    identity = _identity(options, base, text_sets)
    _check_owner(options.out, identity)
    counts, sample = _count(text_sets, base, options, console)
    with console.step("prove"):
        proof = prove_base(base, sample, tell=console.note)
    guard = guard_record(scripts, char_counts(counts, _weight_of_training(counts, options)), ())
    # Nothing is merged here, so that nothing needs a guard: only what is learned is to be said.
    for sentence in guard_sentences(guard) if guard["scripts"] else []:
        console.note(sentence)
    scripts = tuple(guard["scripts"])
    if base.family == "byte-level-bpe":
        with console.step("split", counts.n_chunks, "chunks") as advance:
            counts = refine(base, counts, advance)
    grown = [
        _grow(name, base, table, select(counts, _sets_for(name, options)), scripts, options, console)
        for name in (*options.corpora, TOGETHER)
    ]
    size = compared_size(grown, options.n_added)
    record = {
        "format_version": FORMAT_VERSION,
        "inputs_sha256": identity,
        "base": {**base.as_record(), "n_rows": table.base_n_rows},
        "model": asdict(table.model) if table.model else None,
        "scripts": guard["scripts"],
        "guard": guard,
        "proof": proof.as_record(),
        "options": options.as_record(),
        "versions": versions(),
        "corpora": [
            {"name": one.name, "sets": one.sets, "exhausted_at": one.exhausted_at, "choice": one.choice}
            for one in grown
        ],
        "compared_at": size,
        "shared": shared(grown, size),
        "lost": lost(grown, size),
    }
    for one in grown:
        write_parquet_atomic(options.out / "curves" / f"{one.name}.parquet", one.curve)
    write_json_atomic(options.out / SENSITIVITY_JSON, record)
    with console.step("report"):
        # Drawing takes half a second to import; other commands must not wait for it.
        from vocabopt.sensitivity.page import write_page

        write_page(options.out, record, grown)
    return record


def _identity(options: SensitivityOptions, base: Base, text_sets: tuple[TextSet, ...]) -> str:
    """A hash of what must be the same for a folder to be taken again: text, base and how the text is read."""
    fingerprints = {file.url: fingerprint(file) for text_set in text_sets for file in text_set.files}
    tell_same_content(text_sets, fingerprints)
    files = sorted([text_set.name, fingerprints[file.url]] for text_set in text_sets for file in text_set.files)
    read = {"heldout": options.heldout, "seed": options.seed, **asdict(options.read)}
    return digest({"base": base.sha256, "files": files, "read": read})


def _check_owner(out: Path, identity: str) -> None:
    """An empty folder, or one that an earlier run of this command on the same inputs left."""
    if not check_own_folder(out, SENSITIVITY_JSON):
        return
    earlier = read_json(out / SENSITIVITY_JSON, next_step="Choose another folder with --out.")
    if earlier.get("inputs_sha256") != identity:
        raise RunDirectoryError(
            f"{out}: holds another comparison (other text, base or reading options). Choose another folder with --out, "
            "or remove this one."
        )


def _count(
    text_sets: tuple[TextSet, ...], base: Base, options: SensitivityOptions, console: Console
) -> tuple[ChunkCounts, Sample]:
    """All corpora in one pass, each with a held-out set of its own; and the documents to prove the counts on."""
    proof_sample = ProofSample(options.seed)
    heldout_of = {name: _HELDOUT_OF.format(name) for name in options.corpora}
    sets = {name: SetStats("train") for name in options.corpora}
    sets |= {heldout: SetStats("heldout") for heldout in heldout_of.values()}
    with console.step("count", n_stored_bytes(text_sets), "bytes") as advance:
        counts = count_chunks(
            documents_of_sets(text_sets, options.read),
            sets,
            base,
            heldout_share=options.heldout,
            seed=options.seed,
            advance=advance,
            proof_sample=proof_sample,
            heldout_of=heldout_of,
        )
    for name, path in options.corpora.items():
        if not sets[name].n_documents or not sets[heldout_of[name]].n_documents:
            raise CorpusError(
                f"{name}={path}: {sets[name].n_documents:,} documents to learn from and "
                f"{sets[heldout_of[name]].n_documents:,} held out; both are needed. Give more text, or change "
                "--heldout."
            )
    count_words(counts, counts.weights())
    return counts, proof_sample.sample()


def _weight_of_training(counts: ChunkCounts, options: SensitivityOptions) -> Any:
    weights, names = counts.weights(), list(counts.sets)
    return weights[:, [names.index(name) for name in options.corpora]].sum(axis=1)


def _sets_for(name: str, options: SensitivityOptions) -> dict[str, tuple[str, list[str]]]:
    """What trains and what is measured when tokens are learned from `name`, a corpus or all of them."""
    corpora = list(options.corpora)
    trained = corpora if name == TOGETHER else [name]
    sets = {TRAIN: ("train", trained), HELDOUT: ("heldout", [_HELDOUT_OF.format(one) for one in trained])}
    return sets | {other: ("eval", [_HELDOUT_OF.format(other)]) for other in corpora if other != name}


def _grow(
    name: str,
    base: Base,
    table: EmbeddingTable,
    counts: ChunkCounts,
    scripts: tuple[str, ...],
    options: SensitivityOptions,
    console: Console,
) -> Grown:
    weights = counts.weights()
    growth_options = GrowthOptions(scripts=scripts, max_added=options.max_added, min_saving=options.min_saving)
    unprotected = np.zeros(counts.n_chunks, bool)
    with console.step(name, options.max_added, "tokens") as advance:
        segmentation = segment(base, counts, weights)
        growth = grow(base, counts, segmentation, weights, unprotected, growth_options, advance)
    if not len(growth.curve):
        guard = f" of {', '.join(scripts)}" if scripts else ""
        raise CorpusError(
            f"{name}: no new token{guard} saves anything in this text, so there is nothing to compare. Leave it out, "
            "or name the script of all of them with --script."
        )
    sets = growth.set_records(counts.sets, segmentation)
    told: dict[str, Any] = {"sets": sets, "points": [], "exhausted_at": growth.exhausted_at}
    choice = choice_records(told, growth.curve, growth.folds, table, options.choice, None)["choice"]
    return Grown(name=name, curve=growth.curve, sets=sets, exhausted_at=growth.exhausted_at, choice=choice)
