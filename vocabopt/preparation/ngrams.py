"""Documents as sets of character n-grams, hashed: what near copies are compared by. Compiled."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.compiled import njit
from vocabopt.text.documents import bytes_of_texts


def shingles(texts: pl.Series, n_chars: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The distinct n-grams of each text's characters, as sorted 32-bit hashes one text after another.

    A run of white space counts as one space, at the ends as none; a text shorter than n characters has one n-gram.

    Returns:
        hashes uint32 [n_hashes], and ends int64 [n_texts], where each text's hashes end.
    """
    joined, _, ends = bytes_of_texts(texts)
    data = np.frombuffer(joined, np.uint8)
    hashes = np.empty(len(data) + len(texts), np.uint32)
    hash_ends = np.empty(len(texts), np.int64)
    n_hashes = _shingles(data, ends, n_chars, hashes, hash_ends)
    return hashes[:n_hashes], hash_ends


@njit(cache=True, nogil=True)
def _shingles(data, ends, n_chars, hashes, hash_ends):  # type: ignore[no-untyped-def]
    """Fill `hashes` and `hash_ends`; returns how many hashes there are."""
    ring = np.zeros(n_chars, np.uint64)
    n_out = 0
    start = 0
    for text in range(ends.size):
        first = n_out
        n_seen = 0
        pending_space = False
        position = start
        while position < ends[text]:
            # 1. The next character: its code point from the lead byte's bits and those that follow.
            byte = data[position]
            n_bytes = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
            code = np.uint64(byte) if n_bytes == 1 else np.uint64(byte & (0x7F >> n_bytes))
            for k in range(1, n_bytes):
                code = (code << np.uint64(6)) | np.uint64(data[position + k] & 0x3F)
            position += n_bytes
            if code == 32 or (code >= 9 and code <= 13) or code == 0xA0 or code == 0x3000:
                pending_space = n_seen > 0
                continue
            # 2. One space for a run of white space, then the character.
            for is_character in range(0 if pending_space else 1, 2):
                ring[n_seen % n_chars] = code if is_character else np.uint64(32)
                n_seen += 1
                if n_seen >= n_chars:
                    hashes[n_out] = _hash(ring, n_seen, n_chars)
                    n_out += 1
            pending_space = False
        if n_seen < n_chars:
            hashes[n_out] = _hash(ring, n_seen, n_seen)
            n_out += 1
        # 3. Sorted and distinct.
        own = hashes[first:n_out]
        own.sort()
        n_distinct = 1
        for i in range(1, own.size):
            if own[i] != own[n_distinct - 1]:
                own[n_distinct] = own[i]
                n_distinct += 1
        n_out = first + n_distinct
        hash_ends[text] = n_out
        start = ends[text]
    return n_out


@njit(cache=True, nogil=True, inline="always")
def _hash(ring, n_seen, n):  # type: ignore[no-untyped-def]
    """32 bits of the last n characters, the oldest first."""
    value = np.uint64(n)
    for k in range(n):
        value = (value ^ ring[(n_seen - n + k) % ring.size]) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    return np.uint32(value >> np.uint64(32))


@njit(cache=True, nogil=True)
def jaccard(a, b):  # type: ignore[no-untyped-def]
    """|a and b| / |a or b| of two sorted arrays of distinct hashes."""
    i = j = n_both = 0
    while i < a.size and j < b.size:
        if a[i] == b[j]:
            n_both += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    n_either = a.size + b.size - n_both
    return n_both / n_either if n_either else 1.0


@njit(cache=True, nogil=True)
def first_kept_copies(  # type: ignore[no-untyped-def]
    begin, end, bucket, begins, newest, older, compared_with, features, starts, min_jaccard, max_compared, of, counts
):
    """Go through units in order: one that is near a kept one is its copy, any other is kept.

    Units from begin to end, after those before them. bucket: int32 [n_bands, n]: the bucket of each unit in each band,
    from 1, 0 where it is alone. features: those of each unit as `shingles` gives them, from starts[unit] to
    starts[unit + 1]. of: int64 [n], filled with the kept unit, -1 for kept ones. counts: added to are comparisons made,
    and units for which the limit of comparisons was reached.

    What it knows of kept units (int32, unit + 1, zeros before the first call): newest, the last one of each bucket,
    those of a band from begins[band] on; older [n_bands, n], the one before a unit; compared_with [n].
    """
    n_bands = bucket.shape[0]
    for unit in range(begin, end):
        own = features[starts[unit] : starts[unit + 1]]
        found = -1
        n_compared = 0
        for band in range(n_bands):
            number = bucket[band, unit]
            other = newest[begins[band] + number] - 1 if number else -1
            while other >= 0 and found < 0 and n_compared < max_compared:
                if compared_with[other] != unit + 1:
                    compared_with[other] = unit + 1
                    theirs = features[starts[other] : starts[other + 1]]
                    smaller, larger = min(own.size, theirs.size), max(own.size, theirs.size)
                    # The ratio of sizes is the most that their similarity can be.
                    if smaller >= min_jaccard * larger:
                        n_compared += 1
                        if jaccard(own, theirs) >= min_jaccard:
                            found = other
                other = older[band, other] - 1
        counts[0] += n_compared
        counts[1] += n_compared >= max_compared
        of[unit] = found
        if found < 0:
            for band in range(n_bands):
                number = bucket[band, unit]
                if number:
                    older[band, unit] = newest[begins[band] + number]
                    newest[begins[band] + number] = unit + 1
