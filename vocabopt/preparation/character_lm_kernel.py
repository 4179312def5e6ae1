"""Compiled counting of character n-grams, and interpolated modified Kneser-Ney probabilities from the counts.

Every distinct n-gram of up to `order` symbols is a node of a trie: node 0 is the empty one, the others are numbered as
they are met, so a node comes after its parent, the n-gram without its last symbol. `keys` names a node by its parent
and its last symbol; `slots` is an open-addressing table from keys to nodes, at most half full. The text itself is not
kept: memory grows with the distinct n-grams alone.
"""

import numpy as np

from vocabopt.compiled import njit

_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

#: Beyond Unicode's code points: the beginning and the end of a sentence.
BEGIN = 0x110000
END = 0x110001
SYMBOL_BITS = 21
SYMBOL_MASK = (1 << SYMBOL_BITS) - 1


@_inner
def _slot(keys, slots, key):  # type: ignore[no-untyped-def]
    """Where `key` is in `slots`, or the free slot where it belongs."""
    h = np.uint64(key)
    h = (h ^ (h >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mask = np.int64(slots.size - 1)
    slot = np.int64(h >> np.uint64(16)) & mask
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def place_all(keys, n_nodes, slots):  # type: ignore[no-untyped-def]
    """Put nodes 1 to n_nodes - 1 into an empty table."""
    for node in range(1, n_nodes):
        slots[_slot(keys, slots, keys[node])] = node


@njit(cache=True, nogil=True)
def count(symbols, start, order, keys, counts, n_nodes, slots):  # type: ignore[no-untyped-def]
    """Count the n-grams that begin at `start` and after it. symbols: int32, whole sentences, BEGIN ... END each.

    Returns where it stopped, which is before the end where `keys` was full, and the number of nodes.
    """
    for first in range(start, symbols.size):
        if n_nodes + order > keys.size:
            return first, n_nodes
        node = np.int64(0)
        for at in range(first, min(first + order, symbols.size)):
            symbol = np.int64(symbols[at])
            key = node << SYMBOL_BITS | symbol
            slot = _slot(keys, slots, key)
            if slots[slot] < 0:
                slots[slot] = n_nodes
                keys[n_nodes] = key
                n_nodes += 1
            node = np.int64(slots[slot])
            counts[node] += 1
            if symbol == END:
                break
    return symbols.size, n_nodes


@njit(cache=True, nogil=True)
def adjust(order, keys, counts, slots, depths, suffixes, adjusted):  # type: ignore[no-untyped-def]
    """Fill, for each node: its length, the node without its first symbol, and its adjusted count.

    Chen & Goodman (1998), section 3: below the highest order an n-gram counts once for each symbol that was seen
    before it; one that begins with BEGIN has nothing before it and keeps its count.

    Returns int64 [order + 1, 5]: how many n-grams of each length have an adjusted count of 1, 2, 3 and 4.
    """
    n_nodes = keys.size
    begins = np.zeros(n_nodes, np.bool_)
    for node in range(1, n_nodes):
        parent, symbol = keys[node] >> SYMBOL_BITS, keys[node] & SYMBOL_MASK
        depths[node] = depths[parent] + 1
        begins[node] = begins[parent] if parent else symbol == BEGIN
        if parent:
            # Where an n-gram stands, the one without its first symbol stands one place later: it has a node.
            suffix = slots[_slot(keys, slots, np.int64(suffixes[parent]) << SYMBOL_BITS | symbol)]
            suffixes[node] = suffix
            adjusted[suffix] += 1
    counts_of_counts = np.zeros((order + 1, 5), np.int64)
    for node in range(1, n_nodes):
        if depths[node] == order or begins[node]:
            adjusted[node] = counts[node]
        if adjusted[node] <= 4 and not (begins[node] and depths[node] == 1):  # BEGIN is never predicted
            counts_of_counts[depths[node], adjusted[node]] += 1
    return counts_of_counts


@njit(cache=True, nogil=True)
def interpolate(  # type: ignore[no-untyped-def]
    order, keys, kept, depths, suffixes, adjusted, discounts, backoffs, probabilities
):
    """Fill the probability of each kept node, and what each context leaves to the next shorter one.

    discounts: float64 [order + 1, 4], by length and by count 1, 2, 3 and more. What is not kept gives all of its
    count to the shorter context, so that every context's probabilities still sum to 1.

    Returns the probability of a symbol never seen.
    """
    n_nodes = keys.size
    totals = np.zeros(n_nodes, np.int64)
    n_symbols = 1  # <unk>
    # 1. Of each context: the sum of its counts, and what is taken from them.
    for node in range(1, n_nodes):
        parent = keys[node] >> SYMBOL_BITS
        if parent == 0 and keys[node] & SYMBOL_MASK == BEGIN:
            continue
        n_symbols += parent == 0
        totals[parent] += adjusted[node]
        if kept[node]:
            backoffs[parent] += discounts[depths[node], min(adjusted[node], 3)]
        else:
            backoffs[parent] += adjusted[node]
    for node in range(n_nodes):
        backoffs[node] = backoffs[node] / totals[node] if totals[node] else 1.0
    # 2. Shorter n-grams first, since a longer one leans on them.
    unknown = backoffs[0] / n_symbols
    for depth in range(1, order + 1):
        for node in range(1, n_nodes):
            if depths[node] == depth and kept[node]:
                parent = keys[node] >> SYMBOL_BITS
                own = max(adjusted[node] - discounts[depth, min(adjusted[node], 3)], 0.0) / max(totals[parent], 1)
                shorter = probabilities[suffixes[node]] if depth > 1 else 1.0 / n_symbols
                probabilities[node] = own + backoffs[parent] * shorter
    return unknown
