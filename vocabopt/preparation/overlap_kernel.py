"""Compiled comparison of documents with many short texts ("items") by hashes of their character n-grams.

Only what `table` maps to a code point is read: letters and digits, in lower case. An n-gram of them is a polynomial
hash of 64 bits, finalised; two different n-grams of a few million share one with a chance below one in a million.
"""

import numpy as np

from vocabopt.compiled import njit

_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

_BASE = np.uint64(0x9E3779B97F4A7C15)
#: Code points from here on are not in the table: ideographs, all of them letters, then what is no letter.
TABLE_SIZE = 0x20000
_IDEOGRAPHS_END = 0x40000


@_inner
def _fold(data, start, end, table, letters):  # type: ignore[no-untyped-def]
    """Write the letters and digits of UTF-8 text to `letters`; returns how many there are."""
    n = 0
    position = start
    while position < end:
        byte = np.int64(data[position])
        if byte < 0x80:
            code, position = byte, position + 1
        elif byte < 0xE0:
            code, position = (byte & 0x1F) << 6 | (data[position + 1] & 0x3F), position + 2
        elif byte < 0xF0:
            code = (byte & 0x0F) << 12 | np.int64(data[position + 1] & 0x3F) << 6 | (data[position + 2] & 0x3F)
            position += 3
        else:
            code = (byte & 0x07) << 18 | np.int64(data[position + 1] & 0x3F) << 12
            code |= np.int64(data[position + 2] & 0x3F) << 6 | (data[position + 3] & 0x3F)
            position += 4
        if code < TABLE_SIZE:
            code = np.int64(table[code])
        elif code >= _IDEOGRAPHS_END:
            code = 0
        if code:
            letters[n] = code
            n += 1
    return n


@_inner
def _finalise(h):  # type: ignore[no-untyped-def]
    """The finaliser of splitmix64: every bit of the result depends on every bit of `h`."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@_inner
def _leaving(n_chars):  # type: ignore[no-untyped-def]
    """What the oldest letter of an n-gram is multiplied by when the next one comes."""
    power = np.uint64(1)
    for _ in range(n_chars):
        power *= _BASE
    return power


@njit(cache=True, nogil=True)
def hash_ngrams(data, starts, ends, table, n_chars, hashes, hash_ends):  # type: ignore[no-untyped-def]
    """The n-grams of each text, repeated ones too. hashes: uint64, room for one per byte. Returns letters per text."""
    n_letters = np.zeros(starts.size, np.int64)
    letters = np.empty(max(np.max(ends - starts), 1) if starts.size else 1, np.uint32)
    leaving = _leaving(n_chars)
    n_hashes = 0
    for text in range(starts.size):
        n = _fold(data, starts[text], ends[text], table, letters)
        h = np.uint64(0)
        for i in range(n):
            h = h * _BASE + np.uint64(letters[i])
            if i >= n_chars:
                h -= leaving * np.uint64(letters[i - n_chars])
            if i >= n_chars - 1:
                hashes[n_hashes] = _finalise(h)
                n_hashes += 1
        n_letters[text] = n
        hash_ends[text] = n_hashes
    return n_letters


@njit(cache=True, nogil=True)
def place_ngrams(ngrams, slots, bitmap):  # type: ignore[no-untyped-def]
    """Enter distinct n-grams, uint64 [n], into `slots` (int32, -1 where free) and `bitmap` (uint64 words)."""
    mask = np.uint64(slots.size - 1)
    bit_mask = np.uint64(64 * bitmap.size - 1)
    for ngram in range(ngrams.size):
        h = ngrams[ngram]
        slot = h & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = ngram
        bit = (h >> np.uint64(24)) & bit_mask
        bitmap[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@njit(cache=True, nogil=True)
def find_items(  # type: ignore[no-untyped-def]
    data, starts, ends, table, n_chars, ngrams, slots, bitmap, holders, holder_ends, item_sizes, min_overlap
):
    """For each document the item of which it holds most, if that is at least `min_overlap` of the item's n-grams.

    ngrams: uint64 [n], distinct; holder_ends: where in `holders` (int32, items) those of each n-gram end; item_sizes:
    distinct n-grams of each item.

    Returns per document: the item, -1 for none, the earlier of two alike; and its n-grams found.
    """
    found_item = np.full(starts.size, -1, np.int32)
    found_ngrams = np.zeros(starts.size, np.int32)
    letters = np.empty(max(np.max(ends - starts), 1) if starts.size else 1, np.uint32)
    leaving = _leaving(n_chars)
    mask = np.uint64(slots.size - 1)
    bit_mask = np.uint64(64 * bitmap.size - 1)
    # An n-gram counts once, and counts of an earlier document are not this one's.
    ngram_seen_in = np.full(ngrams.size, -1, np.int32)
    item_seen_in = np.full(item_sizes.size, -1, np.int32)
    item_found = np.zeros(item_sizes.size, np.int32)
    for document in range(starts.size):
        n = _fold(data, starts[document], ends[document], table, letters)
        best, best_item = min_overlap, -1
        rolling = np.uint64(0)
        for i in range(n):
            rolling = rolling * _BASE + np.uint64(letters[i])
            if i >= n_chars:
                rolling -= leaving * np.uint64(letters[i - n_chars])
            if i < n_chars - 1:
                continue
            # 1. Most n-grams end at the bitmap.
            h = _finalise(rolling)
            bit = (h >> np.uint64(24)) & bit_mask
            if not (bitmap[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
                continue
            # 2. The n-gram itself, if an item has it.
            slot = h & mask
            while slots[slot] >= 0 and ngrams[slots[slot]] != h:
                slot = (slot + np.uint64(1)) & mask
            ngram = slots[slot]
            if ngram < 0 or ngram_seen_in[ngram] == document:
                continue
            ngram_seen_in[ngram] = document
            # 3. One more of each item that has it.
            for at in range(holder_ends[ngram - 1] if ngram else 0, holder_ends[ngram]):
                item = holders[at]
                if item_seen_in[item] != document:
                    item_seen_in[item] = document
                    item_found[item] = 0
                item_found[item] += 1
                overlap = item_found[item] / item_sizes[item]
                if overlap > best or (overlap == best and (best_item < 0 or item <= best_item)):
                    best, best_item = overlap, item
        found_item[document] = best_item
        if best_item >= 0:
            found_ngrams[document] = item_found[best_item]
    return found_item, found_ngrams
