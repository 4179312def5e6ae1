"""Compiled search for the rows that kept text needs least: free them one by one, and know what each costs.

Text is units, [n_symbols] int32 from start to start: characters, or bytes of a byte-level base. A unit is encoded by
the base's merges, lowest rank first and leftmost first among equals, and without those that would make a freed piece.

A row can be freed while no kept merge takes it as a part (a leaf). So it is never a step to another piece, and only the
units change that end with it as a token. What it costs is the tokens that these take without it, less what they take
with it, times the weights of the units; this can fall below 0, as neighbours recombine.

The cheapest row is found without counting all of them after each step. A heap holds a lower bound of each cost. When a
row goes, the bounds of those rows fall whose cost may have fallen: of tokens in changed units, by as much as such a
unit can save, and of rows whose removal would give the freed one as a token (`alternatives`). The row on top is counted
again unless its bound is exact; it goes if it still stands on top. So each row that goes is the cheapest at that
moment; among equals the one with the highest id goes first, which the base's own training found last.

One file, long as it is: numba's cache looks at the file of a function only.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vocabopt.compiled import njit

_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

# Columns of `uses` and of `alternatives`, whose rows are linked lists that begin at `head`.
UNIT, NEXT = 0, 1
ROW, VERSION, BOUND, NEXT_ALTERNATIVE = 0, 1, 2, 3
# Places of `sizes`: how full the stores are, and the number of the evaluation under way.
N_USES, N_ALTERNATIVES, N_HEAP, N_EVALUATED = 0, 1, 2, 3
NONE = np.int64(-1)
# Places of `progress`, shared with the calling thread.
ROWS_DONE, STOP = 0, 1


class MergeTable(NamedTuple):
    """Merges in the order of their ranks.

    keys, ranks: an open hash table of pairs, left << 32 | right, -1 where a place is empty. left, right, made:
    int32 [n_merges]. first_of, of_made: merges by what they make: of_made[first_of[x]:first_of[x + 1]].
    """

    keys: NDArray[np.int64]
    ranks: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    made: NDArray[np.int32]
    first_of: NDArray[np.int64]
    of_made: NDArray[np.int64]


class Units(NamedTuple):
    """symbols: int32, of all units; starts: int64 [n_units + 1]. whole: int32 [n_units], the piece that a unit is as a
    whole, where the base takes such units as they are; -1 elsewhere. weights: int64 [n_units]. n_most: int32 [n_units],
    tokens that a unit can take at most.

    tokens, n_tokens, n_symbols: how each is encoded now, in as much room as its symbols have: token ids, how many
    tokens these stand for (a character without a piece takes several), and how many ids there are.
    """

    symbols: NDArray[np.int32]
    starts: NDArray[np.int64]
    whole: NDArray[np.int32]
    weights: NDArray[np.int64]
    n_most: NDArray[np.int32]
    tokens: NDArray[np.int32]
    n_tokens: NDArray[np.int32]
    n_symbols: NDArray[np.int32]


class Rows(NamedTuple):
    """Of every symbol: width, the tokens that it takes; width_without, those that it takes as a symbol of text once it
    is freed; is_freed; is_candidate, whether it may be freed now; n_parts, kept merges that take it as a part; can_go,
    whether it may ever be freed; bound, is_exact, version: its cost, and the number of the count that gave it.
    """

    width: NDArray[np.int32]
    width_without: NDArray[np.int32]
    is_freed: NDArray[np.bool_]
    is_candidate: NDArray[np.bool_]
    n_parts: NDArray[np.int64]
    can_go: NDArray[np.bool_]
    bound: NDArray[np.int64]
    is_exact: NDArray[np.bool_]
    version: NDArray[np.int64]


class Scratch(NamedTuple):
    """Room for encoding the longest unit; and per unit or symbol, when it was last met, and sums of one evaluation."""

    out: NDArray[np.int32]
    after: NDArray[np.int32]
    before: NDArray[np.int32]
    rank_at: NDArray[np.int32]
    heap: NDArray[np.int64]
    met_unit: NDArray[np.int64]
    met_row: NDArray[np.int64]
    sums: NDArray[np.int64]
    touched: NDArray[np.int32]


@_inner
def _room(store, n_rows):  # type: ignore[no-untyped-def]
    """`store`, or a copy at least twice as long when it has fewer than `n_rows` rows."""
    if n_rows <= store.shape[0]:
        return store
    larger = np.empty((max(2 * store.shape[0], n_rows), store.shape[1]), store.dtype)
    larger[: store.shape[0]] = store
    return larger


# --- Encoding ---------------------------------------------------------------------------------------------------------


@_inner
def _slot(keys, key):  # type: ignore[no-untyped-def]
    """Where a pair is in the table, or the empty place where it would be."""
    mask = keys.size - 1
    place = ((key * np.int64(0x5851F42D4C957F2D)) >> np.int64(32)) & mask
    while keys[place] != -1 and keys[place] != key:
        place = (place + 1) & mask
    return place


@njit(cache=True, nogil=True)
def fill_table(left, right, keys, ranks):  # type: ignore[no-untyped-def]
    """Enter all merges; of a pair that comes twice the later rank holds, as in `tokenizers`."""
    for rank in range(left.size):
        key = np.int64(left[rank]) << np.int64(32) | np.int64(right[rank])
        place = _slot(keys, key)
        keys[place] = key
        ranks[place] = rank


@_inner
def _rank(left, right, merges, is_freed, without):  # type: ignore[no-untyped-def]
    """Rank of the merge of two neighbours, or -1: there is none, or what it makes is not there."""
    place = _slot(merges.keys, np.int64(left) << np.int64(32) | np.int64(right))
    if merges.keys[place] == -1:
        return np.int32(-1)
    rank = merges.ranks[place]
    made = merges.made[rank]
    return np.int32(-1) if is_freed[made] or made == without else rank


@_inner
def _push_key(heap, n, key):  # type: ignore[no-untyped-def]
    k = n
    while k > 0:
        parent = (k - 1) >> 1
        if heap[parent] <= key:
            break
        heap[k] = heap[parent]
        k = parent
    heap[k] = key


@_inner
def _drop_least(heap, n):  # type: ignore[no-untyped-def]
    """Take the first of `n` keys out."""
    key = heap[n - 1]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= n - 1:
            break
        if child + 1 < n - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[k] = heap[child]
        k = child
    heap[k] = key


@_inner
def _encode(unit, without, units, merges, rows, scratch):  # type: ignore[no-untyped-def]
    """Encode a unit without the freed rows and without one more (-1: none): how many symbols it leaves in scratch.out.

    A place in the heap is rank << 32 | position; it is out of date where the pair there has another rank by now, which
    a pair that changed always has.
    """
    out, after, before, rank_at, heap = scratch.out, scratch.after, scratch.before, scratch.rank_at, scratch.heap
    whole = units.whole[unit]
    if whole >= 0 and not rows.is_freed[whole] and whole != without:
        out[0] = whole
        return 1
    start = units.starts[unit]
    n = units.starts[unit + 1] - start
    n_heap = 0
    for i in range(n):
        out[i] = units.symbols[start + i]
        after[i], before[i] = i + 1, i - 1
    for i in range(n - 1):
        rank_at[i] = _rank(out[i], out[i + 1], merges, rows.is_freed, without)
        if rank_at[i] >= 0:
            _push_key(heap, n_heap, np.int64(rank_at[i]) << np.int64(32) | np.int64(i))
            n_heap += 1
    rank_at[n - 1] = -1
    while n_heap:
        top = heap[0]
        _drop_least(heap, n_heap)
        n_heap -= 1
        i = top & np.int64(0xFFFFFFFF)
        if rank_at[i] != top >> np.int64(32):
            continue
        j = after[i]
        out[i] = merges.made[rank_at[i]]
        out[j], rank_at[j] = -1, -1
        after[i] = after[j]
        if after[i] < n:
            before[after[i]] = i
        for first in (np.int64(before[i]), i):
            if first >= 0:
                rank_at[first] = -1
                if after[first] < n:
                    rank_at[first] = _rank(out[first], out[after[first]], merges, rows.is_freed, without)
                if rank_at[first] >= 0:
                    _push_key(heap, n_heap, np.int64(rank_at[first]) << np.int64(32) | np.int64(first))
                    n_heap += 1
    n_left = 0
    for i in range(n):
        if out[i] >= 0:
            out[n_left] = out[i]
            n_left += 1
    return n_left


@_inner
def _n_tokens(out, n, without, rows):  # type: ignore[no-untyped-def]
    total = 0
    for i in range(n):
        total += rows.width_without[out[i]] if out[i] == without else rows.width[out[i]]
    return total


@_inner
def _keep(unit, n, units, rows, scratch):  # type: ignore[no-untyped-def]
    """Take what was encoded last as how the unit is encoded now."""
    start = units.starts[unit]
    for i in range(n):
        units.tokens[start + i] = scratch.out[i]
    units.n_symbols[unit] = n
    units.n_tokens[unit] = _n_tokens(scratch.out, n, NONE, rows)


@njit(cache=True, nogil=True)
def encode_all(units, merges, rows, scratch):  # type: ignore[no-untyped-def]
    """Encode every unit with the rows that are not freed."""
    for unit in range(units.whole.size):
        _keep(unit, _encode(unit, NONE, units, merges, rows, scratch), units, rows, scratch)


# --- The heap of rows -------------------------------------------------------------------------------------------------


@_inner
def _comes_before(bound, row, other_bound, other_row):  # type: ignore[no-untyped-def]
    return bound < other_bound or (bound == other_bound and row > other_row)


@_inner
def _push(queue, n, bound, row):  # type: ignore[no-untyped-def]
    k = n
    while k > 0:
        parent = (k - 1) >> 1
        if not _comes_before(bound, row, queue[parent, 0], queue[parent, 1]):
            break
        queue[k] = queue[parent]
        k = parent
    queue[k, 0], queue[k, 1] = bound, row


@_inner
def _pop(queue, n):  # type: ignore[no-untyped-def]
    """Take the first of `n` entries out."""
    bound, row = queue[n - 1, 0], queue[n - 1, 1]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= n - 1:
            break
        if child + 1 < n - 1 and _comes_before(
            queue[child + 1, 0], queue[child + 1, 1], queue[child, 0], queue[child, 1]
        ):
            child += 1
        if not _comes_before(queue[child, 0], queue[child, 1], bound, row):
            break
        queue[k] = queue[child]
        k = child
    queue[k, 0], queue[k, 1] = bound, row


@_inner
def _lower(row, amount, rows, queue, sizes):  # type: ignore[no-untyped-def]
    """The cost of a row may have fallen by as much. `queue` has room."""
    if rows.is_candidate[row]:
        rows.bound[row] -= amount
        rows.is_exact[row] = False
        _push(queue, sizes[N_HEAP], rows.bound[row], row)
        sizes[N_HEAP] += 1


# --- What a row costs -------------------------------------------------------------------------------------------------


@_inner
def _holds(unit, row, units):  # type: ignore[no-untyped-def]
    start = units.starts[unit]
    for i in range(start, start + units.n_symbols[unit]):
        if units.tokens[i] == row:
            return True
    return False


@_inner
def _enter(row, units, merges, rows, uses, head, alternatives, head_of_other, queue, sizes, scratch):  # type: ignore[no-untyped-def]
    """Count exactly what a row costs, and put it into the heap; note the rows that would stand in its place.

    `alternatives` has room for a row of each symbol, `queue` for one.
    """
    sizes[N_EVALUATED] += 1
    number = sizes[N_EVALUATED]
    cost, n_touched = np.int64(0), 0
    use = head[row]
    while use >= 0:
        unit = uses[use, UNIT]
        use = uses[use, NEXT]
        if scratch.met_unit[unit] == number or not _holds(unit, row, units):
            continue
        scratch.met_unit[unit] = number
        n = _encode(unit, row, units, merges, rows, scratch)
        n_without = _n_tokens(scratch.out, n, row, rows)
        cost += units.weights[unit] * (n_without - units.n_tokens[unit])
        for i in range(n):
            other = scratch.out[i]
            if other != row and rows.can_go[other] and not _holds(unit, other, units):
                if scratch.met_row[other] != number:
                    scratch.met_row[other], scratch.sums[other] = number, 0
                    scratch.touched[n_touched] = other
                    n_touched += 1
                # Without `other` too the unit still takes a token.
                scratch.sums[other] += units.weights[unit] * (n_without - 1)
    rows.bound[row], rows.is_exact[row], rows.version[row] = cost, True, number
    for i in range(n_touched):
        other, place = scratch.touched[i], sizes[N_ALTERNATIVES]
        alternatives[place, ROW], alternatives[place, VERSION] = row, number
        alternatives[place, BOUND] = scratch.sums[other]
        alternatives[place, NEXT_ALTERNATIVE] = head_of_other[other]
        head_of_other[other] = place
        sizes[N_ALTERNATIVES] += 1
    rows.is_candidate[row] = True
    _push(queue, sizes[N_HEAP], cost, row)
    sizes[N_HEAP] += 1


# --- Freeing ----------------------------------------------------------------------------------------------------------


@_inner
def _use(row, unit, uses, head, sizes):  # type: ignore[no-untyped-def]
    place = sizes[N_USES]
    uses[place, UNIT], uses[place, NEXT] = unit, head[row]
    head[row] = place
    sizes[N_USES] += 1


@_inner
def _units_of(row, units, uses, head, sizes, scratch, found):  # type: ignore[no-untyped-def]
    """The units that hold a row, each once; how many there are, and the symbols of all."""
    sizes[N_EVALUATED] += 1
    number = sizes[N_EVALUATED]
    n_found, n_symbols = 0, 0
    use = head[row]
    while use >= 0:
        unit = uses[use, UNIT]
        use = uses[use, NEXT]
        if scratch.met_unit[unit] != number and _holds(unit, row, units):
            scratch.met_unit[unit] = number
            found[n_found] = unit
            n_found += 1
            n_symbols += units.starts[unit + 1] - units.starts[unit]
    return n_found, n_symbols


@_inner
def _encode_again(unit, units, merges, rows, uses, head, queue, sizes, scratch):  # type: ignore[no-untyped-def]
    """Encode a unit that held a row which is freed by now; the bounds of its tokens fall, before and after.

    `uses` has room for its symbols, `queue` for twice as many.
    """
    start, n_before, n_old = units.starts[unit], units.n_symbols[unit], units.n_tokens[unit]
    n = _encode(unit, NONE, units, merges, rows, scratch)
    n_new = _n_tokens(scratch.out, n, NONE, rows)
    # A row cost the unit n_most - n_old tokens at most, and saves it n_new - 1 at most.
    amount = units.weights[unit] * (np.int64(units.n_most[unit]) - n_old + n_new - 1)
    for i in range(start, start + n_before):
        _lower(units.tokens[i], amount, rows, queue, sizes)
    for i in range(n):
        row = scratch.out[i]
        if not _holds(unit, row, units):
            _use(row, unit, uses, head, sizes)
            _lower(row, amount, rows, queue, sizes)
    _keep(unit, n, units, rows, scratch)


@njit(cache=True, nogil=True)
def free_rows(n_wanted, units, merges, rows, scratch, freed, costs, progress):  # type: ignore[no-untyped-def]
    """Free up to `n_wanted` rows, the cheapest first.

    Args:
        units: encoded already (`encode_all`).
        freed, costs: int64 [n_wanted], filled in.
        progress: rows done so far; a STOP that is not 0 ends the work.

    Returns:
        How many rows were freed.
    """
    n_rows, sizes = rows.width.size, np.zeros(4, np.int64)
    # Step 1: which units hold which token.
    head = np.full(n_rows, -1, np.int64)
    uses = np.empty((units.symbols.size + 1, 2), np.int64)
    found = np.empty(units.whole.size, np.int64)
    for unit in range(units.whole.size):
        start = units.starts[unit]
        for i in range(start, start + units.n_symbols[unit]):
            if rows.can_go[units.tokens[i]]:
                _use(units.tokens[i], unit, uses, head, sizes)
    # Step 2: what each leaf costs.
    alternatives = np.empty((1 << 16, 4), np.int64)
    head_of_other = np.full(n_rows, -1, np.int64)
    queue = np.empty((1 << 16, 2), np.int64)
    for row in range(n_rows):
        if rows.can_go[row] and rows.n_parts[row] == 0:
            alternatives = _room(alternatives, sizes[N_ALTERNATIVES] + n_rows)
            queue = _room(queue, sizes[N_HEAP] + 1)
            _enter(row, units, merges, rows, uses, head, alternatives, head_of_other, queue, sizes, scratch)
    n_freed = 0
    while n_freed < n_wanted and sizes[N_HEAP] and not progress[STOP]:
        # Step 3: the cheapest row, by a bound that is its cost.
        bound, row = queue[0, 0], queue[0, 1]
        _pop(queue, sizes[N_HEAP])
        sizes[N_HEAP] -= 1
        if not rows.is_candidate[row] or bound != rows.bound[row]:
            continue
        if not rows.is_exact[row]:
            alternatives = _room(alternatives, sizes[N_ALTERNATIVES] + n_rows)
            _enter(row, units, merges, rows, uses, head, alternatives, head_of_other, queue, sizes, scratch)
            continue
        freed[n_freed], costs[n_freed] = row, bound
        n_freed += 1
        # Step 4: encode the units again that held it.
        n_found, n_symbols = _units_of(row, units, uses, head, sizes, scratch, found)
        rows.is_candidate[row], rows.is_freed[row] = False, True
        rows.width[row] = rows.width_without[row]
        uses = _room(uses, sizes[N_USES] + n_symbols)
        queue = _room(queue, sizes[N_HEAP] + 2 * n_symbols)
        for i in range(n_found):
            _encode_again(found[i], units, merges, rows, uses, head, queue, sizes, scratch)
        # Step 5: it no longer stands in for others, which may now cost less.
        place = head_of_other[row]
        while place >= 0:
            other = alternatives[place, ROW]
            if rows.version[other] == alternatives[place, VERSION]:
                queue = _room(queue, sizes[N_HEAP] + 1)
                _lower(other, alternatives[place, BOUND], rows, queue, sizes)
            place = alternatives[place, NEXT_ALTERNATIVE]
        # Step 6: its parts may be leaves now.
        for i in range(merges.first_of[row], merges.first_of[row + 1]):
            merge = merges.of_made[i]
            for part in (merges.left[merge], merges.right[merge]):
                rows.n_parts[part] -= 1
                if rows.n_parts[part] == 0 and rows.can_go[part]:
                    alternatives = _room(alternatives, sizes[N_ALTERNATIVES] + n_rows)
                    queue = _room(queue, sizes[N_HEAP] + 1)
                    _enter(part, units, merges, rows, uses, head, alternatives, head_of_other, queue, sizes, scratch)
        progress[ROWS_DONE] = n_freed
    return n_freed
