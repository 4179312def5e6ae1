"""Compiled counting of what repeats inside a document: lines, paragraphs, n-grams of words, runs of one character.

Two pieces of text are taken for the same where their 64-bit hashes are: among the million pieces of a long document two
different ones have the same with a probability of 3 in 10^8.
"""

# mypy: ignore-errors
# Integers here are NumPy scalars of the compiled code, whatever the checker infers from plain Python.

import numpy as np

from vocabopt.compiled import njit

_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

LINE_FEED = 0x0A
TOP = (2, 3, 4)  # lengths of the n-grams of which the most frequent one counts
REPEATED = (5, 6, 7, 8, 9, 10)  # lengths of those of which every repetition counts

# Columns of what `measure` returns.
N_CHARS, N_WORDS, N_LINES, SAME_LINES, SAME_LINE_CHARS, N_PARAGRAPHS, SAME_PARAGRAPHS, SAME_PARAGRAPH_CHARS = range(8)
RUN_CHARS, TOP_CHARS = 8, 9
REPEATED_CHARS = TOP_CHARS + 3
N_COLUMNS = REPEATED_CHARS + 6


@_inner
def _mix(h, x):
    """`h` with `x` mixed in: the finaliser of splitmix64, so that every bit depends on every bit."""
    h = (h ^ x) + np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@_inner
def _is_space(code):
    """White_Space of Unicode."""
    if code < 0x80:
        return code == 0x20 or 0x09 <= code <= 0x0D
    return (
        code == 0x85 or code == 0xA0 or code == 0x1680 or 0x2000 <= code <= 0x200A or code == 0x2028
        or code == 0x2029 or code == 0x202F or code == 0x205F or code == 0x3000
    )  # fmt: skip


@_inner
def _seen(key, keys, counts, stamps, stamp):
    """How often `key` came before under this stamp; it is counted. The tables' size is a power of two."""
    mask = keys.size - 1
    at = np.int64(key & np.uint64(mask))
    while stamps[at] == stamp:
        if keys[at] == key:
            counts[at] += 1
            return counts[at] - 1
        at = (at + 1) & mask
    stamps[at] = stamp
    keys[at] = key
    counts[at] = 1
    return 0


@_inner
def _count_parts(codes, start, end, breaks, keys, counts, stamps, stamp):
    """Parts of a text between `breaks` or more line feeds: how many, how many came before, and characters of those."""
    n_parts, n_same, n_same_chars = 0, 0, 0
    at = start
    while at < end:
        while at < end and codes[at] == LINE_FEED:
            at += 1
        first = at
        last = at
        h = np.uint64(0)
        while at < end:
            run = at
            while run < end and codes[run] == LINE_FEED:
                run += 1
            if run - at >= breaks or run == end:  # the part ends here, or the text with it
                break
            for i in range(at, run + 1):
                h = _mix(h, np.uint64(codes[i]))
            at = last = run + 1
        if last > first:
            n_parts += 1
            if _seen(h, keys, counts, stamps, stamp) > 0:
                n_same += 1
                n_same_chars += last - first
    return n_parts, n_same, n_same_chars


@_inner
def _count_runs(codes, start, end, min_run):
    """Characters, other than white space, in runs of `min_run` equal ones or more."""
    n_chars = 0
    at = start
    while at < end:
        first = at
        while at < end and codes[at] == codes[first]:
            at += 1
        if at - first >= min_run and not _is_space(codes[first]):
            n_chars += at - first
    return n_chars


@_inner
def _find_words(codes, start, end, hashes, lengths):
    """Hash and length of each word, the runs of other than white space; returns how many."""
    n_words = 0
    at = start
    while at < end:
        while at < end and _is_space(codes[at]):
            at += 1
        first = at
        h = np.uint64(0)
        while at < end and not _is_space(codes[at]):
            h = _mix(h, np.uint64(codes[at]))
            at += 1
        if at > first:
            hashes[n_words] = h
            lengths[n_words] = at - first
            n_words += 1
    return n_words


@_inner
def _n_gram(hashes, lengths, at, n):
    h = np.uint64(n)
    n_chars = 0
    for i in range(at, at + n):
        h = _mix(h, hashes[i])
        n_chars += lengths[i]
    return h, n_chars


@_inner
def _count_top(hashes, lengths, n_words, n, keys, counts, stamps, stamp):
    """Characters of the most frequent n-gram, spaces between its words too, times how often it occurs; 0 if once.

    Of those as frequent, the one that starts first.
    """
    most = 0
    for at in range(n_words - n + 1):
        h, _ = _n_gram(hashes, lengths, at, n)
        most = max(most, _seen(h, keys, counts, stamps, stamp) + 1)
    if most < 2:
        return 0
    mask = keys.size - 1
    for at in range(n_words - n + 1):
        h, n_chars = _n_gram(hashes, lengths, at, n)
        slot = np.int64(h & np.uint64(mask))
        while keys[slot] != h or stamps[slot] != stamp:
            slot = (slot + 1) & mask
        if counts[slot] == most:
            return (n_chars + n - 1) * most
    return 0


@_inner
def _count_repeated(hashes, lengths, n_words, n, keys, counts, stamps, stamp):
    """Characters of the n-grams that came before; after a repetition its n words are skipped, so none counts twice."""
    n_same_chars = 0
    at = 0
    while at < n_words - n + 1:
        h, n_chars = _n_gram(hashes, lengths, at, n)
        if _seen(h, keys, counts, stamps, stamp) > 0:
            n_same_chars += n_chars
            at += n
        else:
            at += 1
    return n_same_chars


@njit(cache=True, nogil=True)
def count_runs(codes, offsets, min_run):
    """Characters of each text, white space apart, in runs of `min_run` equal ones or more: int64 [n]."""
    n_chars = np.empty(offsets.size - 1, np.int64)
    for i in range(n_chars.size):
        n_chars[i] = _count_runs(codes, offsets[i], offsets[i + 1], min_run)
    return n_chars


@njit(cache=True, nogil=True)
def measure(codes, offsets, min_words, min_run):
    """What repeats in each document: int64 [n_documents, N_COLUMNS]. n-grams are counted from `min_words` words on."""
    n_documents = offsets.size - 1
    measured = np.zeros((n_documents, N_COLUMNS), np.int64)
    longest = 1
    for document in range(n_documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    # Step 1: tables for the longest document. A stamp per use makes them empty without clearing them.
    size = 2
    while size < 2 * longest:
        size *= 2
    keys, counts = np.empty(size, np.uint64), np.empty(size, np.int64)
    stamps = np.zeros(size, np.int64)
    hashes, lengths = np.empty(longest, np.uint64), np.empty(longest, np.int64)
    stamp = 0
    for document in range(n_documents):
        start, end = offsets[document], offsets[document + 1]
        row = measured[document]
        row[N_CHARS] = end - start
        # Step 2: lines and paragraphs, runs of a character.
        for breaks, column in ((1, N_LINES), (2, N_PARAGRAPHS)):
            stamp += 1
            parts = _count_parts(codes, start, end, breaks, keys, counts, stamps, stamp)
            row[column], row[column + 1], row[column + 2] = parts
        row[RUN_CHARS] = _count_runs(codes, start, end, min_run)
        # Step 3: n-grams of words.
        n_words = _find_words(codes, start, end, hashes, lengths)
        row[N_WORDS] = n_words
        if n_words < min_words:
            continue
        for i in range(3):
            stamp += 1
            row[TOP_CHARS + i] = _count_top(hashes, lengths, n_words, TOP[i], keys, counts, stamps, stamp)
        for i in range(6):
            stamp += 1
            row[REPEATED_CHARS + i] = _count_repeated(
                hashes, lengths, n_words, REPEATED[i], keys, counts, stamps, stamp
            )
    return measured
