"""`vocabopt analyze`: tokenizers side by side on the same text, from options to the record that analyze.json holds."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rich.markup import escape

from vocabopt.analysis import words
from vocabopt.analysis.measure import RENYI_ALPHA, Measurer, Tally, gini, measure, parity, renyi_efficiency, use_of
from vocabopt.analysis.record import AnalyzeRecord, Morphemes, SetNumbers, TextNumbers, TokenizerNumbers, share
from vocabopt.analysis.subjects import Subject, Subjects
from vocabopt.analysis.text import read_texts
from vocabopt.analysis.vocabulary import near_duplicates
from vocabopt.console import Console
from vocabopt.engine import engine
from vocabopt.errors import OptionError
from vocabopt.options import AnalyzeOptions
from vocabopt.report.text import plain
from vocabopt.text.corpus import n_stored_bytes, named_set, tell_shared
from vocabopt.text.shards import shards_of
from vocabopt.versions import versions

#: Text that a worker encodes at a time.
_SHARD_BYTES = 32 << 20
#: Up to here text is encoded in this process, unless --workers says otherwise: processes take longer to start.
_FEW_BYTES = 8 << 20


def analyze(options: AnalyzeOptions, console: Console) -> AnalyzeRecord:
    """Measure every tokenizer on every text set.

    Raises:
        BaseTokenizerError: a tokenizer cannot be loaded, and nothing here can encode with it.
        CorpusError: a text cannot be found or read.
        OptionError: an option cannot be used, or the sets of --parity are not aligned.
    """
    read_options = options.read_options()
    named = [named_set(name, path, "eval", read_options) for name, path in options.texts.items()]
    tell_shared(named)
    # Names of this module's own: those of the user may be any, "train" included, which means more elsewhere.
    text_sets = tuple(
        replace(text_set, name=str(i), files=tuple(replace(file, text_set=str(i)) for file in text_set.files))
        for i, text_set in enumerate(named)
    )
    n_bytes = n_stored_bytes(text_sets)
    with console.step("load"):
        subjects = Subjects(options)
        _ = subjects.loaded
    with console.step("read", n_bytes, "bytes") as advance:
        found = read_texts(text_sets, read_options, n_sampled=options.morpheme_documents, advance=_adding_up(advance))
    texts = {text_set.name: text for text_set, (text, _) in zip(named, found, strict=True)}
    for name in (name for name, text in texts.items() if not text.n_documents):
        console.note(
            f"--text {name}={options.texts[name]}: holds no text, so that nothing is measured on it. Name another."
        )
    _check_aligned(options.parity, texts)
    samples = {text_set.name: sample for text_set, (text, sample) in zip(named, found, strict=True) if text.is_korean}
    split: dict[str, words.MorphemeText] = {}
    if samples and options.morpheme_documents:
        with console.step("morphemes"):
            analyser = words.load_analyser()
            if analyser is not None:
                split = {name: words.find_morphemes(analyser, documents) for name, documents in samples.items()}
    shards = shards_of(text_sets, read_options, shard_bytes=_SHARD_BYTES)
    names = [text_set.name for text_set in text_sets]
    tokenizers = []
    is_small = options.workers is None and options.engine == "local" and n_bytes is not None and n_bytes <= _FEW_BYTES
    how = replace(options, workers=1) if is_small else options
    with engine(how, partial(Measurer, subjects, read_options)) as workers:
        for number, subject in enumerate(subjects.loaded):
            with console.step(f"encode {escape(plain(subject.name, 60))}", n_bytes, "bytes") as advance:
                tally = measure(number, subject, shards, names, workers, _adding_up(advance), console.note)
            tokenizers.append(_tokenizer_numbers(subject, tally, texts, split, options))
    return AnalyzeRecord(
        options=options.as_record(),
        renyi_alpha=RENYI_ALPHA,
        sets=texts,
        tokenizers=tuple(tokenizers),
        versions=versions("kiwipiepy", "kiwipiepy-model"),
    )


def _adding_up(advance: Any) -> Any:
    """From the bytes of each block to the bytes done so far."""
    done = 0

    def add(n_stored_bytes: int) -> None:
        nonlocal done
        done += n_stored_bytes
        advance(done)

    return add


def _check_aligned(aligned: str | None, texts: Mapping[str, TextNumbers]) -> None:
    """Every set must have as many documents as the aligned one, none of them left out."""

    def held(name: str) -> str:
        left_out = texts[name].n_blank + texts[name].n_skipped
        more = f" and {left_out:,} blank or unreadable ones" if left_out else ""
        return f"{texts[name].n_documents:,} documents{more}"

    for name in texts if aligned is not None else ():
        if held(name) != held(str(aligned)):
            raise OptionError(
                f"--parity {aligned}: has {held(str(aligned))}, but {name} has {held(name)}. Parity compares the same "
                "documents in each set: give aligned text, or leave --parity out."
            )


def _tokenizer_numbers(
    subject: Subject,
    tally: Tally,
    texts: Mapping[str, TextNumbers],
    split: Mapping[str, words.MorphemeText],
    options: AnalyzeOptions,
) -> TokenizerNumbers:
    n_tokens = dict(zip(texts, map(tally.n_tokens, range(len(texts))), strict=True))
    n_unused, n_rare = use_of(subject.vocabulary, tally.token_counts.sum(axis=0), options.rare)
    costs_bytes = [n / texts[name].n_bytes for name, n in n_tokens.items() if n]
    costs_documents = [n / texts[name].n_documents for name, n in n_tokens.items() if n]
    n_aligned = None if options.parity is None else n_tokens[options.parity]
    is_korean = any(text.is_korean for text in texts.values())
    return TokenizerNumbers(
        name=subject.name,
        source=subject.side.source,
        sha256=subject.side.sha256,
        family=subject.family,
        encoder=tally.encoder,
        n_tokens=subject.vocabulary.n_tokens,
        n_plain=subject.vocabulary.n_plain,
        n_unused=n_unused,
        n_rare=n_rare,
        near_duplicates=near_duplicates(subject.vocabulary),
        syllables=words.syllable_coverage(subject) if is_korean else None,
        gini_tokens_per_byte=gini(costs_bytes),
        gini_tokens_per_document=None if options.parity is None else gini(costs_documents),
        sets={
            name: _set_numbers(subject, tally, index, text, n_aligned, split.get(name), options.rare)
            for index, (name, text) in enumerate(texts.items())
        },
    )


def _set_numbers(
    subject: Subject, tally: Tally, index: int, text: TextNumbers, n_aligned: int | None,
    split: words.MorphemeText | None, rare: int,
) -> SetNumbers:  # fmt: skip
    vocabulary, tokens = subject.vocabulary, tally.token_counts[index]
    n_tokens, n_chunks = tally.n_tokens(index), int(tally.n_chunks[index]) or None
    n_words, n_whole, n_continued, n_eojeols, n_eojeol_tokens = map(int, tally.word_counts[index])
    n_byte = None if vocabulary.is_byte is None else int(tokens[vocabulary.is_byte].sum())
    n_cut = int(tokens[vocabulary.is_cut].sum())
    n_unknown = int(tokens[vocabulary.is_unknown].sum()) if vocabulary.is_unknown.any() else None
    n_unused, n_rare = use_of(vocabulary, tokens, rare)
    morphemes = None
    if split is not None:
        met = words.meet(subject, split)
        morphemes = Morphemes(
            **met,
            share_token_boundaries_met=share(met["n_met"], met["n_token_boundaries"]),
            share_morpheme_boundaries_met=share(met["n_met"], met["n_morpheme_boundaries"]),
        )
    return SetNumbers(
        n_tokens=n_tokens,
        n_chunks=n_chunks,
        n_added_tokens=int(tally.n_added[index]),
        n_byte_tokens=n_byte,
        n_cut_tokens=n_cut,
        n_unknown_tokens=n_unknown,
        n_words=n_words,
        n_words_whole=n_whole,
        n_words_continued=n_continued,
        n_eojeols=n_eojeols if text.is_korean else None,
        n_eojeol_tokens=n_eojeol_tokens if text.is_korean else None,
        n_unused=n_unused,
        n_rare=n_rare,
        tokens_per_word=share(n_tokens, text.n_words),
        chunks_per_word=share(n_chunks, text.n_words),
        bytes_per_token=share(text.n_bytes, n_tokens),
        chars_per_token=share(text.n_chars, n_tokens),
        share_words_whole=share(n_whole, n_words),
        share_words_continued=share(n_continued, n_words),
        share_byte_tokens=share(n_byte, n_tokens),
        share_cut_tokens=share(n_cut, n_tokens),
        share_unknown_tokens=share(n_unknown, n_tokens),
        renyi_efficiency=renyi_efficiency(tokens, vocabulary.n_tokens),
        parity=parity(n_tokens, n_aligned),
        tokens_per_eojeol=share(n_eojeol_tokens, n_eojeols) if text.is_korean else None,
        morphemes=morphemes,
    )
