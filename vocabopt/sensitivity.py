"""`vocabopt sensitivity`: every corpus counted once, then a curve for each and for all together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import polars as pl

from vocabopt.choice.choose import choose
from vocabopt.choice.complexity import EmbeddingTable, size_curve, table_of_base
from vocabopt.console import Console
from vocabopt.errors import CorpusError
from vocabopt.folder import check_own_folder, digest, write_parquet_atomic
from vocabopt.growth.counts import ChunkCounts, SetStats, char_counts, count_chunks, count_words, guard_of
from vocabopt.growth.grow import GrowthOptions, grow
from vocabopt.growth.proof import prove_base
from vocabopt.growth.proof_sample import ProofSample, Sample
from vocabopt.growth.symbols import segment
from vocabopt.options import SensitivityOptions
from vocabopt.records import BaseRecord, Corpus, SensitivityRecord, TextSet, write_record
from vocabopt.text.corpus import TextSet as Files
from vocabopt.text.corpus import corpus_set, fingerprint, n_stored_bytes, tell_same_content, tell_shared
from vocabopt.text.documents import documents_of_sets
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.sets import HELDOUT, N_FOLDS, TRAIN
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import refine
from vocabopt.versions import versions
from vocabopt.wording import guard_sentences

SENSITIVITY_JSON = "sensitivity.json"
#: The name of all corpora taken as one.
TOGETHER = "together"
_HELDOUT_OF = "heldout:{}"


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One corpus, or all together, with its curve.

    The sets of a corpus are its own train and heldout, and the held-out text of each other corpus by name; those of all
    together have every corpus by name.
    """

    corpus: Corpus
    curve: pl.DataFrame

    @property
    def name(self) -> str:
        return self.corpus.name

    def n_tokens(self, of: str, n_added: int) -> int:
        """Tokens of another corpus's held-out text with this one's first `n_added` tokens."""
        text_set = HELDOUT if of == self.name else of
        if n_added == 0:
            return self.corpus.sets[text_set].n_tokens_base
        return int(self.curve[f"n_tokens_{text_set}"][n_added - 1])

    def pieces(self, n_added: int) -> set[bytes]:
        return set(self.curve["bytes"][:n_added])


def run_sensitivity(options: SensitivityOptions, console: Console) -> SensitivityRecord:
    """Measure all corpora and write sensitivity.json, sensitivity.html and curves/.

    Raises:
        VocaboptError: any of its kinds; the message names the value, the place and the next step.
    """
    scripts = parse_scripts(options.scripts)
    base = load_base(options.base, pattern=options.pattern, specials=options.specials)
    table = table_of_base(base, options.model)
    text_sets = tuple(corpus_set(name, path, options.read) for name, path in options.corpora.items())
    tell_shared(text_sets)
    # What must be the same for a folder to be taken again: text, base and how the text is read.
    fingerprints = {file.url: fingerprint(file) for text_set in text_sets for file in text_set.files}
    tell_same_content(text_sets, fingerprints)
    files = sorted([text_set.name, fingerprints[file.url]] for text_set in text_sets for file in text_set.files)
    read = {"heldout": options.heldout, "seed": options.seed, **asdict(options.read)}
    identity = digest({"base": base.sha256, "files": files, "read": read})
    check_own_folder(options.out, SENSITIVITY_JSON, inputs_sha256=identity, what="comparison")
    counts, sample = _count(text_sets, base, options, console)
    with console.step("prove"):
        proof = prove_base(base, sample, tell=console.note)
    weights, names = counts.weights(), list(counts.sets)
    training = weights[:, [names.index(name) for name in options.corpora]].sum(axis=1)
    guard = guard_of(scripts, char_counts(counts, training), ())
    # Nothing is merged here, so that nothing needs a guard: only what is learned is to be said.
    for sentence in guard_sentences(guard) if guard.scripts else []:
        console.note(sentence)
    if base.family == "byte-level-bpe":
        with console.step("split", counts.n_chunks, "chunks") as advance:
            counts = refine(base, counts, advance)
    grown, corpora = [], list(options.corpora)
    for name in (*corpora, TOGETHER):
        trained = corpora if name == TOGETHER else [name]
        sets = {TRAIN: ("train", trained), HELDOUT: ("heldout", [_HELDOUT_OF.format(one) for one in trained])}
        sets |= {other: ("eval", [_HELDOUT_OF.format(other)]) for other in corpora if other != name}
        grown.append(_grow(name, base, table, select(counts, sets), guard.scripts, options, console))
    # The size at which all are compared: the one asked for, else that of all together, as far as every curve goes.
    wanted = grown[-1].corpus.choice.n_added if options.n_added is None else options.n_added
    size = min([wanted, *(len(one.curve) for one in grown)])
    record = SensitivityRecord(
        inputs_sha256=identity,
        base=BaseRecord(**base.as_record(), n_rows=table.base_n_rows),
        model=table.model,
        scripts=guard.scripts,
        guard=guard,
        proof=proof,
        options=options.as_record(),
        versions={**versions()},
        corpora=tuple(one.corpus for one in grown),
        compared_at=size,
        shared=shared(grown, size),
        lost=lost(grown, size),
    )
    for one in grown:
        write_parquet_atomic(options.out / "curves" / f"{one.name}.parquet", one.curve)
    write_record(options.out / SENSITIVITY_JSON, record)
    with console.step("report"):
        # Drawing takes half a second to import; other commands must not wait for it.
        from vocabopt.report.sensitivity import write_page

        write_page(options.out, record, {one.name: one.curve for one in grown})
    return record


def _count(
    text_sets: tuple[Files, ...], base: Tokenizer, options: SensitivityOptions, console: Console
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
        n_train, n_heldout = sets[name].n_documents, sets[heldout_of[name]].n_documents
        if not n_train or not n_heldout:
            raise CorpusError(
                f"{name}={path}: {n_train:,} documents to learn from and {n_heldout:,} held out; both are needed. Give "
                "more text, or change --heldout."
            )
    count_words(counts, counts.weights())
    return counts, proof_sample.sample()


def _grow(
    name: str,
    base: Tokenizer,
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
    sets = {name: TextSet(**stats) for name, stats in growth.set_records(counts.sets).items()}
    curve = size_curve(growth.curve, sets, growth.exhausted_at)
    choice = choose(curve, growth.folds, table, options.choice)
    corpus = Corpus(name=name, sets=sets, exhausted_at=growth.exhausted_at, choice=choice)
    return Grown(corpus=corpus, curve=growth.curve)


# --- What the curves say of each other --------------------------------------------------------------------------------

Shares = tuple[tuple[float | None, ...], ...]


def shared(grown: Sequence[Grown], n_added: int) -> Shares:
    """[i][j]: the share of the first n_added pieces of i that are among those of j; None for no pieces."""
    pieces = [one.pieces(n_added) for one in grown]
    return tuple(tuple(len(mine & other) / n_added if n_added else None for other in pieces) for mine in pieces)


def lost(grown: Sequence[Grown], n_added: int) -> Shares:
    """[i][j]: how many more tokens the held-out text of corpus j takes with the tokens of i than with its own.

    Rows: what the tokens were learned from. Columns: the corpora, without all together. None where j held out nothing.
    """
    corpora = [one for one in grown if one.name != TOGETHER]
    own = [one.n_tokens(one.name, n_added) for one in corpora]
    return tuple(
        tuple(one.n_tokens(other.name, n_added) / n - 1 if n else None for other, n in zip(corpora, own, strict=True))
        for one in grown
    )


# --- Counts of several corpora, taken apart and together --------------------------------------------------------------


def select(counts: ChunkCounts, sets: Mapping[str, tuple[str, Sequence[str]]]) -> ChunkCounts:
    """Counts whose text sets are made of those of `counts`.

    Args:
        sets: new name -> (role, the old sets that it joins), in order; an old set may go into several.

    Returns:
        Chunks that no new set holds are left out; the order of the others stays.
    """
    old_names = list(counts.sets)
    chunk_of_entry = np.repeat(np.arange(counts.n_chunks), np.diff(counts.offsets))
    old_set, fold = np.divmod(counts.groups, N_FOLDS)
    parts = []
    for number, (_, joined) in enumerate(sets.values()):
        member = np.isin(old_set, [old_names.index(name) for name in joined])
        parts.append(
            pl.DataFrame(
                {
                    "chunk": chunk_of_entry[member],
                    "group": (number * N_FOLDS + fold[member]).astype(np.int32),
                    "n": counts.counts[member],
                }
            )
        )
    entries = pl.concat(parts).group_by("chunk", "group").agg(pl.col("n").sum()).sort("chunk", "group")
    kept, n_entries = np.unique(entries["chunk"].to_numpy(), return_counts=True)
    # A chunk's bytes, its NUL included, are kept or not as one.
    lengths = np.diff(counts.ends, prepend=-1)
    is_kept = np.zeros(counts.n_chunks, bool)
    is_kept[kept] = True
    text = counts.text[np.repeat(is_kept, lengths)]
    joined_sets = {}
    for new, (role, joined) in sets.items():
        olds = [counts.sets[old] for old in joined]
        counted = [given.name for given in fields(SetStats) if given.name != "role"]
        totals = {name: sum(getattr(old, name) for old in olds) for name in counted}
        joined_sets[new] = SetStats(role=role, **totals)
    return ChunkCounts(
        sets=joined_sets,
        text=text,
        ends=np.cumsum(lengths[is_kept]) - 1,
        offsets=np.concatenate([[0], np.cumsum(n_entries)]),
        groups=entries["group"].to_numpy().astype(np.int32, copy=True),
        counts=entries["n"].to_numpy().copy(),
    )
