"""`vocabopt analyze`: tokenizers side by side on the same text, from options to the record that analyze.json holds."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from rich.markup import escape

from vocabopt.analysis import words
from vocabopt.analysis.measure import (
    RENYI_ALPHA,
    Measured,
    SetCounts,
    gini,
    loses_text,
    measure,
    parity,
    renyi_efficiency,
    use_of,
)
from vocabopt.analysis.subjects import Subject, load_subjects
from vocabopt.analysis.text import SetText, read_texts, share
from vocabopt.analysis.vocabulary import near_duplicates
from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.folder import FORMAT_VERSION
from vocabopt.options import AnalyzeOptions
from vocabopt.report.text import plain
from vocabopt.text.corpus import TextSet, n_stored_bytes, named_set, tell_shared
from vocabopt.versions import versions

MorphemeTexts = Mapping[str, words.MorphemeText]


def analyze(options: AnalyzeOptions, console: Console) -> dict[str, Any]:
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
        replace(text_set, name=str(i), files=_of_set(text_set, str(i))) for i, text_set in enumerate(named)
    )
    n_bytes = n_stored_bytes(text_sets)
    with console.step("load"):
        subjects = load_subjects(options)
    with console.step("read", n_bytes, "bytes") as advance:
        found = read_texts(text_sets, read_options, n_sampled=options.morpheme_documents, advance=_adding_up(advance))
    texts = {text_set.name: found[str(i)] for i, text_set in enumerate(named)}
    _check_aligned(options.parity, texts)
    split, notes = _find_morphemes(texts, options, console)
    records = []
    for subject in subjects:
        with console.step(f"encode {escape(plain(subject.name, 60))}", n_bytes, "bytes") as advance:
            measured = measure(subject, text_sets, read_options, _adding_up(advance), console.note)
        sets = {text_set.name: measured.sets[str(i)] for i, text_set in enumerate(named)}
        records.append(_tokenizer_record(subject, measured, sets, texts, split, options))
    return {
        "format_version": FORMAT_VERSION,
        "options": options.as_record(),
        "renyi_alpha": RENYI_ALPHA,
        "sets": {name: text.as_record() for name, text in texts.items()},
        "tokenizers": records,
        "notes": [*notes, *_lost(records)],
        "versions": versions("kiwipiepy", "kiwipiepy-model"),
    }


def _lost(records: list[dict[str, Any]]) -> list[str]:
    """A sentence for each tokenizer that loses text."""
    said = []
    for record in records:
        lost = {name: counts for name, counts in record["sets"].items() if loses_text(counts)}
        if lost:
            shares = ", ".join(
                f"{100 * counts['share_unknown_tokens']:.1f} % on {name}" for name, counts in lost.items()
            )
            said.append(
                f"{record['name']} cannot spell all text. Of its tokens are unknown ones: {shares}. Such text is lost, "
                "so few tokens there are no merit, and are never shown as the best."
            )
    return said


def _of_set(text_set: TextSet, name: str) -> tuple[Any, ...]:
    return tuple(replace(file, text_set=name) for file in text_set.files)


def _adding_up(advance: Any) -> Any:
    """From the bytes of each block to the bytes done so far."""
    done = 0

    def add(n_stored_bytes: int) -> None:
        nonlocal done
        done += n_stored_bytes
        advance(done)

    return add


def _check_aligned(aligned: str | None, texts: Mapping[str, SetText]) -> None:
    """Every set must have as many documents as the aligned one, none of them left out."""
    if aligned is None:
        return
    expected = texts[aligned]
    for name, text in texts.items():
        if (
            text.n_documents != expected.n_documents
            or text.n_blank + text.n_skipped != expected.n_blank + expected.n_skipped
        ):
            raise OptionError(
                f"--parity {aligned}: has {_held(expected)}, but {name} has {_held(text)}. Parity compares the same "
                "documents in each set: give aligned text, or leave --parity out."
            )


def _held(text: SetText) -> str:
    left_out = text.n_blank + text.n_skipped
    return f"{text.n_documents:,} documents" + (f" and {left_out:,} blank or unreadable ones" if left_out else "")


def _find_morphemes(
    texts: Mapping[str, SetText], options: AnalyzeOptions, console: Console
) -> tuple[MorphemeTexts, list[str]]:
    korean = {name: text for name, text in texts.items() if text.is_korean}
    if not korean or not options.morpheme_documents:
        return {}, []
    with console.step("morphemes"):
        analyser = words.load_analyser()
        if analyser is None:
            return {}, [words.HOW_TO_INSTALL]
        return {name: words.find_morphemes(analyser, text.documents) for name, text in korean.items()}, []


def _tokenizer_record(
    subject: Subject,
    measured: Measured,
    sets: Mapping[str, SetCounts],
    texts: Mapping[str, SetText],
    split: MorphemeTexts,
    options: AnalyzeOptions,
) -> dict[str, Any]:
    vocabulary, side = subject.vocabulary, subject.side
    total = np.sum([counts.token_counts for counts in sets.values()], axis=0)
    n_unused, n_rare = use_of(vocabulary, total, options.rare)
    costs_bytes = [counts.n_tokens / texts[name].n_bytes for name, counts in sets.items() if counts.n_tokens]
    costs_documents = [counts.n_tokens / texts[name].n_documents for name, counts in sets.items() if counts.n_tokens]
    is_korean = any(text.is_korean for text in texts.values())
    n_aligned = sets[options.parity].n_tokens if options.parity is not None else None
    return {
        "name": subject.name,
        "source": side.source,
        "sha256": side.sha256,
        "family": subject.family,
        "encoder": measured.encoder,
        "n_tokens": vocabulary.n_tokens,
        "n_plain": vocabulary.n_plain,
        "n_unused": n_unused,
        "n_rare": n_rare,
        "near_duplicates": near_duplicates(vocabulary),
        "syllables": words.syllable_coverage(subject) if is_korean else None,
        "gini_tokens_per_byte": gini(costs_bytes),
        "gini_tokens_per_document": gini(costs_documents) if options.parity is not None else None,
        "sets": {
            name: _set_record(subject, counts, texts[name], n_aligned, options.rare)
            | {"morphemes": _morpheme_record(subject, split.get(name))}
            for name, counts in sets.items()
        },
    }


def _set_record(subject: Subject, counts: SetCounts, text: SetText, n_aligned: int | None, rare: int) -> dict[str, Any]:
    vocabulary, tokens = subject.vocabulary, counts.token_counts
    n_tokens = counts.n_tokens
    n_byte = None if vocabulary.is_byte is None else int(tokens[vocabulary.is_byte].sum())
    n_cut = int(tokens[vocabulary.is_cut].sum())
    n_unknown = int(tokens[vocabulary.is_unknown].sum()) if vocabulary.is_unknown.any() else None
    n_unused, n_rare = use_of(vocabulary, tokens, rare)
    return {
        "n_tokens": n_tokens,
        "n_added_tokens": counts.n_added_tokens,
        "n_byte_tokens": n_byte,
        "n_cut_tokens": n_cut,
        "n_unknown_tokens": n_unknown,
        "n_words": counts.n_words,
        "n_words_whole": counts.n_words_whole,
        "n_words_continued": counts.n_words_continued,
        "n_eojeols": counts.n_eojeols if text.is_korean else None,
        "n_eojeol_tokens": counts.n_eojeol_tokens if text.is_korean else None,
        "n_unused": n_unused,
        "n_rare": n_rare,
        "tokens_per_word": share(n_tokens, text.n_words),
        "bytes_per_token": share(text.n_bytes, n_tokens),
        "chars_per_token": share(text.n_chars, n_tokens),
        "share_words_whole": share(counts.n_words_whole, counts.n_words),
        "share_words_continued": share(counts.n_words_continued, counts.n_words),
        "share_byte_tokens": share(n_byte, n_tokens),
        "share_cut_tokens": share(n_cut, n_tokens),
        "share_unknown_tokens": share(n_unknown, n_tokens),
        "renyi_efficiency": renyi_efficiency(tokens, vocabulary.n_tokens),
        "parity": parity(n_tokens, n_aligned),
        "tokens_per_eojeol": share(counts.n_eojeol_tokens, counts.n_eojeols) if text.is_korean else None,
    }


def _morpheme_record(subject: Subject, text: words.MorphemeText | None) -> dict[str, Any] | None:
    if text is None:
        return None
    met = words.meet(subject, text)
    return met | {
        "share_token_boundaries_met": share(met["n_met"], met["n_token_boundaries"]),
        "share_morpheme_boundaries_met": share(met["n_met"], met["n_morpheme_boundaries"]),
    }
