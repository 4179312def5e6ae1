"""Compiled search for the documents that a proof must hold: one for every character and every run of white space.

Of the documents that have a feature the shortest stands for it, of equally short ones that of the smallest hash. So
what is found does not depend on the order of the text. Functions are this file's own, since numba's cache does not see
changed callees in another.
"""

import numpy as np

from vocabopt.compiled import njit
from vocabopt.growth.chunk_kernel import FNV_OFFSET, FNV_PRIME

_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

N_CODE_POINTS = 0x110000
#: A word of at least this many bytes is a feature by its length, in steps of a factor of two.
LONG_WORD_BYTES = 64
# What a feature that is no character stands for, mixed into its key.
_RUN, _WORD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_AT_START, _AT_END = np.uint64(1), np.uint64(2)


@_inner
def _is_white(code_point):  # type: ignore[no-untyped-def]
    """Unicode's White_Space."""
    if code_point <= 0x20:
        return code_point == 0x20 or 0x09 <= code_point <= 0x0D
    if code_point < 0x85 or code_point > 0x3000:
        return False
    if code_point < 0x1680:
        return code_point == 0x85 or code_point == 0xA0
    if 0x2000 <= code_point <= 0x200A or code_point == 0x2028 or code_point == 0x2029:
        return True
    return code_point == 0x202F or code_point == 0x205F or code_point == 0x3000 or code_point == 0x1680


@_inner
def _finalise(h):  # type: ignore[no-untyped-def]
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@_inner
def _feature(key, size, content_hash, below, keys, key_bytes, key_hashes, sizes):  # type: ignore[no-untyped-def]
    """Let a document stand for a feature; whether it does now. sizes[0]: features held."""
    if key >= below or key == 0:
        return False
    mask = np.uint64(keys.size - 1)
    slot = key & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    if keys[slot] == key and (size, content_hash) >= (key_bytes[slot], key_hashes[slot]):
        return False
    sizes[0] += keys[slot] == 0
    keys[slot], key_bytes[slot], key_hashes[slot] = key, size, content_hash
    return True


@njit(cache=True, nogil=True)
def offer(  # type: ignore[no-untyped-def]
    data, starts, ends, hashes, first, below, char_bytes, char_hashes, keys, key_bytes, key_hashes, sizes, wanted
):
    """Offer documents data[starts[i]:ends[i]] (UTF-8) from number `first` on.

    below: features that are no characters are held where their key is below this. char_bytes: int32 [N_CODE_POINTS],
    the size of the document that stands for each character; char_hashes: its hash. keys (0: free), key_bytes,
    key_hashes: the same for other features, a hash table of a power of two places. wanted: bool [n], set where the
    document stands for something now.

    Returns the number of the document that the table had no room for, or how many there are.
    """
    for document in range(first, starts.size):
        start, end, content_hash = starts[document], ends[document], hashes[document]
        size = end - start
        if 2 * (sizes[0] + size + 2) > keys.size:
            return document
        stands = False
        run, begin, position = np.uint64(0), start, start
        while position < end:
            code_point, n_bytes = np.int64(data[position]), 1
            if code_point >= 0x80:
                code_point, n_bytes = code_point & 0x1F, 2
                code_point = code_point << 6 | (np.int64(data[position + 1]) & 0x3F)
                if data[position] >= 0xE0:
                    code_point, n_bytes = (code_point & 0x3FF) << 6 | (np.int64(data[position + 2]) & 0x3F), 3
                    if data[position] >= 0xF0:
                        code_point, n_bytes = (code_point & 0x7FFF) << 6 | (np.int64(data[position + 3]) & 0x3F), 4
            if size <= char_bytes[code_point] and (
                size < char_bytes[code_point] or content_hash < char_hashes[code_point]
            ):
                char_bytes[code_point], char_hashes[code_point] = size, content_hash
                stands = True
            if _is_white(code_point):
                if run == 0:
                    if position - begin >= LONG_WORD_BYTES:
                        key = _finalise(_WORD ^ np.uint64(np.int64(np.log2(position - begin))))
                        stands |= _feature(key, size, content_hash, below, keys, key_bytes, key_hashes, sizes)
                    run, begin = FNV_OFFSET, position
                run = (run ^ np.uint64(code_point)) * FNV_PRIME
            elif run != 0:
                # One space between words is no feature.
                if position - begin > 1 or data[begin] != 0x20 or begin == start:
                    key = _finalise(run ^ _RUN ^ (_AT_START if begin == start else np.uint64(0)))
                    stands |= _feature(key, size, content_hash, below, keys, key_bytes, key_hashes, sizes)
                run, begin = np.uint64(0), position
            position += n_bytes
        if run != 0:
            key = _finalise(run ^ _RUN ^ _AT_END)
            stands |= _feature(key, size, content_hash, below, keys, key_bytes, key_hashes, sizes)
        elif end - begin >= LONG_WORD_BYTES:
            key = _finalise(_WORD ^ np.uint64(np.int64(np.log2(end - begin))))
            stands |= _feature(key, size, content_hash, below, keys, key_bytes, key_hashes, sizes)
        wanted[document] = stands
    return starts.size


@njit(cache=True, nogil=True)
def refill(old_keys, old_bytes, old_hashes, below, keys, key_bytes, key_hashes):  # type: ignore[no-untyped-def]
    """Enter the features below `below` into an empty table; returns how many."""
    mask, n = np.uint64(keys.size - 1), 0
    for i in range(old_keys.size):
        if old_keys[i] != 0 and old_keys[i] < below:
            slot = old_keys[i] & mask
            while keys[slot] != 0:
                slot = (slot + np.uint64(1)) & mask
            keys[slot], key_bytes[slot], key_hashes[slot] = old_keys[i], old_bytes[i], old_hashes[i]
            n += 1
    return n
