"""Compiled counting with merges that are known: tokens of the base per chunk in, which merges each chunk uses out.

In a chunk the pair of lowest rank is merged first, leftmost first among equals, as every BPE encoder does. What a chunk
uses is kept with it, so that each unique chunk is walked once, however often text has it.
"""

import numpy as np

from vocabopt.compiled import njit

# Functions called from compiled code alone need no way in from Python, which takes time to compile.
_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

#: No merge.
NONE = np.int64(1) << 31
_PRIME = np.uint64(0x9E3779B97F4A7C15)
LOW_HALF = 0xFFFFFFFF
# Columns of `merges`.
LEFT, RIGHT, NEW, ROW = 0, 1, 2, 3


@_inner
def _place(key, keys):  # type: ignore[no-untyped-def]
    """Where a key is in an open table, or the empty place where it would be."""
    mask = np.uint64(keys.size - 1)
    at = (np.uint64(key) * _PRIME >> np.uint64(32)) & mask
    while keys[np.int64(at)] != key and keys[np.int64(at)] != 0:
        at = (at + np.uint64(1)) & mask
    return np.int64(at)


@njit(cache=True, nogil=True)
def fill_table(merges, keys, ranks):  # type: ignore[no-untyped-def]
    """Enter the merges of pairs: keys int64 [2^n], 0 is empty; ranks int32 [2^n]. The first of equal ones counts."""
    for rank in range(merges.shape[0]):
        if merges[rank, RIGHT] != 0:
            key = merges[rank, LEFT] << 32 | merges[rank, RIGHT]
            at = _place(key, keys)
            if keys[at] == 0:
                keys[at] = key
                ranks[at] = rank


@_inner
def _rank(left, right, keys, ranks):  # type: ignore[no-untyped-def]
    if left <= 0 or right <= 0:
        return NONE
    key = left << 32 | right
    at = _place(key, keys)
    return np.int64(ranks[at]) if keys[at] != 0 else NONE


@_inner
def _push(heap, n, entry):  # type: ignore[no-untyped-def]
    while n > 0:
        parent = (n - 1) >> 1
        if heap[parent] <= entry:
            break
        heap[n] = heap[parent]
        n = parent
    heap[n] = entry


@_inner
def _pop(heap, n):  # type: ignore[no-untyped-def]
    """Take the least of n entries away; what is left are n - 1."""
    entry, k = heap[n - 1], 0
    while True:
        child = 2 * k + 1
        if child >= n - 1:
            break
        if child + 1 < n - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[k] = heap[child]
        k = child
    heap[k] = entry


@_inner
def _symbols_of(ids, byte_values, closed_symbols, opened_at, symbols, uses, n_uses):  # type: ignore[no-untyped-def]
    """Write the symbols of a chunk: a token, or a character spelled in bytes, -1 where no merge makes it one token.

    Returns the number of symbols, and that of uses so far: the merges that make characters.
    """
    n, position = 0, 0
    while position < ids.size:
        byte, n_units = byte_values[ids[position]], 1
        symbols[n] = ids[position] + 1
        if byte >= 0:
            n_units = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
            code_point = byte if n_units == 1 else byte & (0x7F >> n_units)
            for k in range(1, n_units):
                code_point = code_point << 6 | (byte_values[ids[position + k]] & 0x3F)
            symbols[n] = -1
            if closed_symbols[code_point] > 0:
                symbols[n] = closed_symbols[code_point]
                uses[n_uses] = opened_at[symbols[n]]
                n_uses += 1
        position += n_units
        n += 1
    return n, n_uses


@njit(cache=True, nogil=True)
def walk(  # type: ignore[no-untyped-def]
    ids, ends, byte_values, closed_symbols, opened_at, merges, keys, ranks, late_keys, uses, use_ends, room
):  # fmt: skip
    """Which merges each of some encoded chunks uses.

    ids: int64, the base's tokens; ends: where each chunk's end. byte_values: int32 [n_tokens], the byte of a token, -1
    for others. closed_symbols: int32 [0x110000], symbol of a character that a merge makes of its bytes, 0 for others;
    opened_at: int64 [n_symbols], the rank of that merge. merges: int64 [n_merges, 4], by rank. keys, ranks: of
    `fill_table`. uses: int32, room for as many as ids; use_ends: int64 [n_chunks]. room: int64 [6, at least 3 x the
    longest chunk].

    A use is the rank of a merge; or, where a part of the pair was made by a merge of a later row than the merge's own,
    - 1 - its place in late_keys, an open table of rank + 1 << 32 | row. Returns how many of these there are, at most.
    """
    symbols, rank_of, after, before, heap, made_in = room
    begin, n_uses, n_late = 0, 0, 0
    for chunk in range(ends.size):
        end = ends[chunk]
        n, first_use = 0, n_uses
        n, n_uses = _symbols_of(ids[begin:end], byte_values, closed_symbols, opened_at, symbols, uses, n_uses)
        # Merge the pair of lowest rank, leftmost first, again and again.
        n_heap = 0
        for k in range(n):
            after[k], before[k] = k + 1, k - 1
            made_in[k] = 0
            rank_of[k] = _rank(symbols[k], symbols[k + 1], keys, ranks) if k + 1 < n else NONE
            if rank_of[k] != NONE:
                _push(heap, n_heap, rank_of[k] << 32 | k)
                n_heap += 1
        if n_uses > first_use:  # a character is made in the row of the merge that makes it
            for k in range(n):
                if symbols[k] > byte_values.size:
                    made_in[k] = merges[opened_at[symbols[k]], ROW]
        while n_heap > 0:
            rank, k = heap[0] >> 32, heap[0] & LOW_HALF
            _pop(heap, n_heap)
            n_heap -= 1
            if rank_of[k] != rank:
                continue
            gone = after[k]
            row = max(made_in[k], made_in[gone])
            uses[n_uses] = rank
            if row > merges[rank, ROW]:
                key = (rank + 1) << 32 | row
                at = _place(key, late_keys)
                n_late += late_keys[at] == 0
                late_keys[at] = key
                uses[n_uses] = -1 - at
            n_uses += 1
            made_in[k] = max(row, merges[rank, ROW])
            symbols[k], after[k], rank_of[gone] = merges[rank, NEW], after[gone], NONE
            if after[k] < n:
                before[after[k]] = k
            for left in (before[k], k):
                if left >= 0:
                    rank_of[left] = NONE
                    if after[left] < n:
                        rank_of[left] = _rank(symbols[left], symbols[after[left]], keys, ranks)
                    if rank_of[left] != NONE:
                        _push(heap, n_heap, rank_of[left] << 32 | left)
                        n_heap += 1
        use_ends[chunk] = n_uses
        begin = end
    return n_late


@_inner
def _add_to_folds(  # type: ignore[no-untyped-def]
    chunk, group, count, uses, use_ends, id_ends, size_of, savings, late_sizes, fold_tokens, fold_saved
):  # fmt: skip
    fold_tokens[group] += count * (id_ends[chunk] - (id_ends[chunk - 1] if chunk else 0))
    for k in range(use_ends[chunk - 1] if chunk else 0, use_ends[chunk]):
        use = uses[k]
        if use >= 0:
            fold_saved[size_of[use], group] += count * savings[use]
        else:
            fold_saved[late_sizes[-1 - use], group] += count


@njit(cache=True, nogil=True)
def add_up(  # type: ignore[no-untyped-def]
    entries, groups, counts, n_folds, uses, use_ends, ids, id_ends, words, lost, parts, size_of, savings, late_sizes,
    late, per_merge, token_counts, fold_tokens, fold_saved, n_words, n_lost, n_parts
):  # fmt: skip
    """Add what chunks use, times how often they occur.

    entries: int64 [n_entries, 3]: chunk, group, count. groups, counts: int64 [n_chunks], the count under way of each
    chunk. uses, ids: int32, of all chunks, with where each chunk's end. words, lost, parts: int32 [n_chunks]. size_of,
    savings: int64 [n_ranks], the row of fold_saved that a merge belongs to, and what a use saves; late_sizes: the row
    of fold_saved for places in the table of late uses.

    Adds to late [n_places, n_sets], n_words, n_lost, n_parts [n_sets] and the arrays of `curve.Uses`; fold_saved is
    here what the merges between two sizes save.
    """
    n_sets, n_dormant = per_merge.shape[1], savings.size - per_merge.shape[0]
    # Once per fold that a chunk occurs in; what needs no folds once per chunk, with its counts per set.
    weights = np.zeros((groups.size, n_sets), np.int64)
    for entry in range(entries.shape[0]):
        chunk, group, count = entries[entry]
        if count:
            weights[chunk, group // n_folds] += count
            _add_to_folds(
                chunk, group, count, uses, use_ends, id_ends, size_of, savings, late_sizes, fold_tokens, fold_saved
            )
    begin, first_use = 0, 0
    for chunk in range(groups.size):
        if counts[chunk]:
            weights[chunk, groups[chunk] // n_folds] += counts[chunk]
            _add_to_folds(
                chunk, groups[chunk], counts[chunk], uses, use_ends, id_ends, size_of, savings, late_sizes,
                fold_tokens, fold_saved,
            )  # fmt: skip
        for text_set in range(n_sets):
            weight = weights[chunk, text_set]
            if weight:
                n_words[text_set] += weight * words[chunk]
                n_lost[text_set] += weight * lost[chunk]
                n_parts[text_set] += weight * parts[chunk]
                for k in range(begin, id_ends[chunk]):
                    token_counts[text_set, ids[k]] += weight
                for k in range(first_use, use_ends[chunk]):
                    if uses[k] >= 0:
                        per_merge[uses[k] - n_dormant, text_set] += weight
                    else:
                        late[-1 - uses[k], text_set] += weight
        begin, first_use = id_ends[chunk], use_ends[chunk]
