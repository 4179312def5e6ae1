"""Compiled growth pass: add, one at a time, the token that saves most tokens, and keep every count exact.

Text is a row of slots, [n_slots, 2] int32: a symbol and the chunk it belongs to; symbol 0 stands between chunks. A
symbol made by a merge covers several slots: the first holds the symbol, the second and the last hold minus the
length, so that both neighbours are found in one step and mostly in the same cache line.

Two facts make the pass fast and simple.
  1. A pair (l, r) can only come into being when the younger of its two symbols is made. So all places of a pair are
     known at once, in order of position, and its count only falls afterwards: nothing is ever appended.
  2. Counts that only fall can be looked up late. A heap holds an upper bound for each pair; the pair on top is
     recounted if one of its symbols was used since, and goes back if it lost its lead. Pairs whose count starts
     below a threshold are not even stored: when no candidate reaches the threshold any more, it is lowered and the
     remaining text, by then much shorter, is indexed anew.

With several targets each has a heap and bounds of its own; a pair that saves in two of them is a candidate in both.
The next token is the best of the target that is served worst at that moment (`_worst_served`).

A closed symbol is a character that the base spells in bytes. It takes part in no pair until it is opened, which
saves its bytes less one; from then on it is a symbol like any other, "made" at that moment.

One file, long as it is: numba's cache looks at the file of a function only, so a changed callee in another file would
go unnoticed.
"""

import numpy as np

from vocabopt.compiled import njit

# Functions called from compiled code alone need no way in from Python, which takes time to compile.
_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

# Columns of `candidates`, one row per target and pair (or closed symbol, with RIGHT = 0) that may be added for it.
LEFT, RIGHT, BOUND, FIRST_PLACE, N_PLACES, COUNTED_AT, IS_BLOCKED, TARGET = 0, 1, 2, 3, 4, 5, 6, 7
N_CANDIDATE_COLUMNS = 8
# Columns of `near`: the neighbours met while a merge is applied; from WEIGHT on one per target.
NEIGHBOUR, PLACE, WEIGHT = 0, 1, 2
# Columns of `dense`, one row per symbol, all 0 between calls: what one neighbour adds up to, and its candidate.
SUM, N_NEAR, CANDIDATE = 0, 1, 2
# Columns of `symbols`. EXTRA: tokens saved when a closed symbol is opened; OK: its bytes satisfy the guard; INSIDE:
# they begin inside a character; TAIL: guard state after them; USED_AT: last event that consumed it; HASH, POWER: of its
# bytes, for finding reserved spellings; CROSSING: see below.
EXTRA, OK, INSIDE, TAIL, USED_AT, HASH, POWER, TEXT_START, TEXT_END, CROSSING = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
N_SYMBOL_COLUMNS = 10
# CROSSING: what a symbol begins with, what it ends with (shifted), and whether it holds such a place (`rules`) itself.
CROSSING_FIRST, CROSSING_LAST_SHIFT, CROSSING_INSIDE = 3, 2, 16
# Columns of `events`, followed by one column per text set: occurrences merged there.
EVENT_LEFT, EVENT_RIGHT, EVENT_NEW, EVENT_ROW, EVENT_COUNTS = 0, 1, 2, 3, 4
# Places of `sizes`: how full the stores are, and a sink for what is only touched.
N_CANDIDATES, N_PLACES_USED, TOUCHED, N_CHANGED = 0, 1, 2, 3
# Places of `flags`: candidates are counted again before they are taken; reserved spellings may be merged into.
RECOUNT_ALL, RESERVED_MAY_MERGE = 0, 1
# Places of `progress`, shared with the calling thread.
ROWS_DONE, STOP = 0, 1
# Saving of the last token, guessed from the one at hand: a power of the ratio of their ranks.
GUESSED_EXPONENT = 1.3
# Bound of a merge without a row: it comes before everything else.
FREE = np.int64(1) << 62
# Places fetched ahead: enough to overlap cache misses, few enough to stay in the first-level cache.
N_FETCHED = 64
# Typed, since numba compiles a callee anew for each literal it is called with.
NO, YES = np.int64(0), np.int64(1)
HASH_BASE = np.int64(0x5851F42D4C957F2D)


@_inner
def _comes_before(candidates, i, j, symbols, text):  # type: ignore[no-untyped-def]
    """Order of candidates: larger bound first, then smaller piece bytes."""
    if candidates[i, BOUND] != candidates[j, BOUND]:
        return candidates[i, BOUND] > candidates[j, BOUND]
    li, ri, lj, rj = candidates[i, LEFT], candidates[i, RIGHT], candidates[j, LEFT], candidates[j, RIGHT]
    a, n_a = symbols[li, TEXT_START], symbols[li, TEXT_END] - symbols[li, TEXT_START]
    b, n_b = symbols[lj, TEXT_START], symbols[lj, TEXT_END] - symbols[lj, TEXT_START]
    a_rest, b_rest = symbols[ri, TEXT_START] - n_a, symbols[rj, TEXT_START] - n_b
    a_size = n_a + symbols[ri, TEXT_END] - symbols[ri, TEXT_START]
    b_size = n_b + symbols[rj, TEXT_END] - symbols[rj, TEXT_START]
    for k in range(min(a_size, b_size)):
        x = text[a + k] if k < n_a else text[a_rest + k]
        y = text[b + k] if k < n_b else text[b_rest + k]
        if x != y:
            return x < y
    return a_size < b_size


@_inner
def _push(heap, n_heap, candidate, candidates, symbols, text):  # type: ignore[no-untyped-def]
    k = n_heap
    while k > 0:
        parent = (k - 1) >> 1
        if not _comes_before(candidates, candidate, heap[parent], symbols, text):
            break
        heap[k] = heap[parent]
        k = parent
    heap[k] = candidate


@_inner
def _replace_top(heap, n_heap, candidate, candidates, symbols, text):  # type: ignore[no-untyped-def]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= n_heap:
            break
        if child + 1 < n_heap and _comes_before(candidates, heap[child + 1], heap[child], symbols, text):
            child += 1
        if not _comes_before(candidates, heap[child], candidate, symbols, text):
            break
        heap[k] = heap[child]
        k = child
    heap[k] = candidate


@_inner
def _room(store, n_rows):  # type: ignore[no-untyped-def]
    """`store`, or a copy at least twice as long when it has fewer than `n_rows` rows."""
    if n_rows <= store.shape[0]:
        return store
    larger = np.empty((max(2 * store.shape[0], n_rows), *store.shape[1:]), store.dtype)
    larger[: store.shape[0]] = store
    return larger


@_inner
def _wider(heaps, n_columns):  # type: ignore[no-untyped-def]
    """`heaps` [n_targets, n], or a copy at least twice as wide when a heap has room for fewer than `n_columns`."""
    if n_columns <= heaps.shape[1]:
        return heaps
    larger = np.empty((heaps.shape[0], max(2 * heaps.shape[1], n_columns)), heaps.dtype)
    larger[:, : heaps.shape[1]] = heaps
    return larger


@_inner
def _worst_served(heaps, n_heap, candidates, thresholds, min_saving, remaining, n_tokens_base):  # type: ignore[no-untyped-def]
    """The target whose turn it is, or -1 where none has a candidate.

    A piece that is only opened comes before all, and stands in the first heap. Then it is the target with most of its
    base tokens left, the first of equal ones; one that has no candidate steps out.
    """
    if n_heap[0] > 0 and (n_heap.size == 1 or candidates[heaps[0, 0], BOUND] == FREE):
        return 0
    worst, highest = -1, -1.0
    for target in range(n_heap.size):
        ratio = remaining[target] / n_tokens_base[target]
        if ratio > highest and (n_heap[target] > 0 or thresholds[target] > min_saving):
            worst, highest = target, ratio
    return worst


@_inner
def _after(slots, place):  # type: ignore[no-untyped-def]
    """The place behind the symbol at `place`."""
    return place - slots[place + 1, 0] if slots[place + 1, 0] < 0 else place + 1


@_inner
def _is_allowed(left, right, symbols, text, guard_next, guard_accepts):  # type: ignore[no-untyped-def]
    """Whether the guard lets `left` + `right` be a piece: it begins at a character and shows the target script."""
    if symbols[left, INSIDE]:
        return False
    if symbols[left, OK] or symbols[right, OK]:
        return True
    state = symbols[left, TAIL]
    for k in range(symbols[right, TEXT_START], symbols[right, TEXT_END]):
        if state == 0:
            break
        if guard_accepts[state, text[k]]:
            return True
        state = guard_next[state, text[k]]
    return False


@_inner
def _crosses(left, right, symbols, crossings):  # type: ignore[no-untyped-def]
    """Whether `left` + `right` would stand across a place where text is cut, or may be cut elsewhere."""
    a, b = symbols[left, CROSSING], symbols[right, CROSSING]
    return (a | b) & CROSSING_INSIDE != 0 or crossings[(a >> CROSSING_LAST_SHIFT) & CROSSING_FIRST, b & CROSSING_FIRST]


@_inner
def _reserved(left, right, symbols, reserved):  # type: ignore[no-untyped-def]
    """Row of `reserved` (sorted by hash) whose spelling is `left` + `right`, or -1."""
    h = symbols[left, HASH] * symbols[right, POWER] + symbols[right, HASH]
    low, high = 0, reserved.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if reserved[middle, 0] < h:
            low = middle + 1
        else:
            high = middle
    return low if low < reserved.shape[0] and reserved[low, 0] == h else -1


@_inner
def _enter(left, right, target, bound, counted_at, candidates, sizes):  # type: ignore[no-untyped-def]
    """A new candidate, as yet without places; returns its number."""
    candidate = sizes[N_CANDIDATES]
    sizes[N_CANDIDATES] += 1
    candidates[candidate, LEFT] = left
    candidates[candidate, RIGHT] = right
    candidates[candidate, BOUND] = bound
    candidates[candidate, FIRST_PLACE] = sizes[N_PLACES_USED]
    candidates[candidate, N_PLACES] = 0
    candidates[candidate, COUNTED_AT] = counted_at
    candidates[candidate, IS_BLOCKED] = 0
    candidates[candidate, TARGET] = target
    return candidate


@_inner
def _collect(  # type: ignore[no-untyped-def]
    fixed, fixed_is_left, near, begin, end, at, target, threshold, candidates, places, sizes, dense, symbols, text,
    rules
):  # fmt: skip
    """Turn near[begin:end], neighbours of `fixed` in order of position, into candidates of a target with their places.

    Pieces that are only opened are candidates of the first target alone.
    """
    guard_next, guard_accepts, reserved, flags, crossings = rules
    for i in range(begin, end):
        other = near[i, NEIGHBOUR]
        dense[other, SUM] += near[i, WEIGHT + target]
        dense[other, N_NEAR] += 1
    for i in range(begin, end):
        other = near[i, NEIGHBOUR]
        if dense[other, N_NEAR] > 0:
            left, right = (fixed, other) if fixed_is_left else (other, fixed)
            bound = dense[other, SUM]
            if reserved.shape[0] > 0:
                row = _reserved(left, right, symbols, reserved)
                if row >= 0:
                    bound = FREE if flags[RESERVED_MAY_MERGE] and reserved[row, 1] > 0 and target == 0 else 0
            dense[other, CANDIDATE] = 0
            # A piece of the base that is only opened has kept its text uncut.
            if bound < FREE and _crosses(left, right, symbols, crossings):
                bound = 0
            if bound >= threshold and _is_allowed(left, right, symbols, text, guard_next, guard_accepts):
                # l == r may overlap itself and is counted when its turn comes; so is all that protection may forbid.
                counted_at = -1 if other == fixed or flags[RECOUNT_ALL] else at
                dense[other, CANDIDATE] = _enter(left, right, target, bound, counted_at, candidates, sizes) + 1
                sizes[N_PLACES_USED] += dense[other, N_NEAR]
            dense[other, SUM] = 0
            dense[other, N_NEAR] = 0
        candidate = dense[other, CANDIDATE] - 1
        if candidate >= 0:
            places[candidates[candidate, FIRST_PLACE] + candidates[candidate, N_PLACES]] = near[i, PLACE]
            candidates[candidate, N_PLACES] += 1


@_inner
def _compact(slots, symbols, is_open):  # type: ignore[no-untyped-def]
    """Give every symbol one slot again, and drop chunks that can lose nothing more.

    Those are chunks of one open symbol, and chunks in which nothing satisfies the guard or may begin to.
    """
    kept, place = 0, 0
    while place < slots.shape[0] - 1:
        begin = kept
        may_change = False
        slots[kept, 0] = 0
        kept += 1
        place += 1
        while slots[place, 0] != 0:
            symbol = slots[place, 0]
            slots[kept, 0] = symbol
            slots[kept, 1] = slots[place, 1]
            kept += 1
            may_change |= symbols[symbol, OK] != 0 or symbols[symbol, TAIL] != 0
            place = _after(slots, place)
        if not may_change or (kept - begin == 2 and is_open[slots[begin + 1, 0]]):
            kept = begin
    slots[kept, 0] = 0
    return kept + 1


@_inner
def _index(  # type: ignore[no-untyped-def]
    slots, weights, n_symbols, at, target, threshold, candidates, places, sizes, near, dense, symbols, is_open, text,
    rules
):  # fmt: skip
    """Find all candidates of the text as it stands that save at least `threshold` tokens of a target.

    Places are grouped by their left symbol (counting sort); a pair occurs no more often than each of its symbols,
    which spares most places of rare ones.
    """
    frequency = np.zeros(n_symbols, np.int64)
    for place in range(slots.shape[0]):
        frequency[slots[place, 0]] += weights[slots[place, 1], target]
    for symbol in range(n_symbols):
        if not is_open[symbol]:
            frequency[symbol] *= symbols[symbol, EXTRA] if symbols[symbol, OK] else 0
    frequency[0] = -1
    begin = np.zeros(n_symbols + 1, np.int64)
    fill = begin
    # Twice over the text: first how many places each left symbol has, then the places themselves.
    for filling in range(2):
        for place in range(1, slots.shape[0] - 1):
            left, right = slots[place, 0], slots[place + 1, 0]
            if frequency[left] < threshold:
                continue
            if is_open[left] and (frequency[right] < threshold or not is_open[right]):
                continue
            if filling:
                i = fill[left]
                fill[left] += 1
                near[i, NEIGHBOUR] = right
                near[i, PLACE] = place
                near[i, WEIGHT + target] = weights[slots[place, 1], target]
            else:
                begin[left + 1] += 1
        if not filling:
            for symbol in range(n_symbols):
                begin[symbol + 1] += begin[symbol]
            fill = begin.copy()
            near = _room(near, begin[n_symbols] + 1)
    places = _room(places, sizes[N_PLACES_USED] + begin[n_symbols] + 1)
    for left in range(1, n_symbols):
        first, last = begin[left], begin[left + 1]
        if first == last:
            continue
        candidates = _room(candidates, sizes[N_CANDIDATES] + last - first + 1)
        if is_open[left]:
            _collect(
                left, YES, near, first, last, at, target, threshold,
                candidates, places, sizes, dense, symbols, text, rules
            )  # fmt: skip
        else:
            counted_at = -1 if rules[3][RECOUNT_ALL] else at
            candidate = _enter(left, NO, target, frequency[left], counted_at, candidates, sizes)
            candidates[candidate, N_PLACES] = last - first
            for i in range(first, last):
                places[sizes[N_PLACES_USED]] = near[i, PLACE]
                sizes[N_PLACES_USED] += 1
    return candidates, places, near


@_inner
def _fetch(places, begin, end, slots, weights):  # type: ignore[no-untyped-def]
    """Touch the text at some places. These loads do not wait for each other, so their cache misses overlap."""
    touched = np.int64(0)
    for i in range(begin, end):
        touched += slots[places[i], 0]
    for i in range(begin, end):
        touched += weights[slots[places[i], 1], 0]
    return touched


@_inner
def _recount(candidate, candidates, places, sizes, slots, weights, protected):  # type: ignore[no-untyped-def]
    """Count a pair as its target's text stands, drop stale places, and note whether it changes a protected chunk."""
    left, right, target = candidates[candidate, LEFT], candidates[candidate, RIGHT], candidates[candidate, TARGET]
    begin, kept, count, covered = candidates[candidate, FIRST_PLACE], candidates[candidate, FIRST_PLACE], 0, -1
    end = begin + candidates[candidate, N_PLACES]
    for i in range(begin, end):
        if (i - begin) % N_FETCHED == 0:
            sizes[TOUCHED] += _fetch(places, i, min(i + N_FETCHED, end), slots, weights)
        place = places[i]
        if slots[place, 0] != left:
            continue
        if right != 0:
            after = _after(slots, place)
            if slots[after, 0] != right:
                continue
            places[kept] = place
            kept += 1
        if protected[slots[place, 1]]:
            candidates[candidate, IS_BLOCKED] = 1
        if right != 0:
            # In a run of n equal symbols every second place counts: floor(n / 2).
            if place < covered:
                continue
            covered = after + 1 if left == right else -1
        count += weights[slots[place, 1], target]
    if right != 0:
        candidates[candidate, N_PLACES] = kept - begin
    return count


@_inner
def _apply(candidate, new, saving, candidates, places, sizes, slots, weights, near, is_open, counts, changed):  # type: ignore[no-untyped-def]
    """Merge a pair (or open a symbol) at all its places, leftmost first, and note the neighbours of the new symbol.

    Left neighbours go to near[0:n], right ones to near[m:r], m = places + 1; (new, new) is noted once, as a left
    neighbour. Returns n, m and r. counts [n_sets] gets the occurrences, the last column of weights the tokens saved,
    and `changed` the chunks.
    """
    left, right = candidates[candidate, LEFT], candidates[candidate, RIGHT]
    begin, n_places = candidates[candidate, FIRST_PLACE], candidates[candidate, N_PLACES]
    n_left, right_begin, before, n_targets = 0, n_places + 1, -1, near.shape[1] - WEIGHT
    n_right = right_begin
    for i in range(begin, begin + n_places):
        if (i - begin) % N_FETCHED == 0:
            sizes[TOUCHED] += _fetch(places, i, min(i + N_FETCHED, begin + n_places), slots, weights)
        place = places[i]
        if slots[place, 0] != left:
            continue
        after = _after(slots, place)
        if right != 0:
            if slots[after, 0] != right:
                continue
            end = _after(slots, after)
            slots[after, 0] = -1
            slots[place, 0] = new
            slots[place + 1, 0] = place - end
            slots[end - 1, 0] = place - end
            after = end
        chunk = slots[place, 1]
        # Written always, counted if it holds: these conditions are coin tosses, and wrong guesses cost more.
        changed[sizes[N_CHANGED]] = chunk
        sizes[N_CHANGED] += weights[chunk, counts.size] == 0
        weights[chunk, counts.size] += saving
        for text_set in range(counts.size):
            counts[text_set] += weights[chunk, text_set]
        previous = place + slots[place - 1, 0] if slots[place - 1, 0] < 0 else place - 1
        neighbour = slots[previous, 0]
        # A neighbour to the right that is merged in its turn: it was `left`, so it was open and noted.
        n_right -= neighbour == new and previous == before
        near[n_left, NEIGHBOUR] = neighbour
        near[n_left, PLACE] = previous
        near[n_left, WEIGHT] = weights[chunk, 0]
        for target in range(1, n_targets):
            near[n_left, WEIGHT + target] = weights[chunk, target]
        n_left += is_open[neighbour]
        neighbour = slots[after, 0]
        near[n_right, NEIGHBOUR] = neighbour
        near[n_right, PLACE] = place
        near[n_right, WEIGHT] = weights[chunk, 0]
        for target in range(1, n_targets):
            near[n_right, WEIGHT + target] = weights[chunk, target]
        n_right += is_open[neighbour]
        before = place
    return n_left, right_begin, n_right


@_inner
def _make_symbol(left, right, n_symbols, n_text, symbols, text, guard_next):  # type: ignore[no-untyped-def]
    """Enter the union of two symbols; returns the end of its text."""
    symbols[n_symbols, TEXT_START] = n_text
    for part in (left, right):
        for k in range(symbols[part, TEXT_START], symbols[part, TEXT_END]):
            text[n_text] = text[k]
            n_text += 1
    symbols[n_symbols, TEXT_END] = n_text
    symbols[n_symbols, EXTRA] = 0
    symbols[n_symbols, OK] = 1
    symbols[n_symbols, INSIDE] = symbols[left, INSIDE]
    state = symbols[left, TAIL]
    for k in range(symbols[right, TEXT_START], symbols[right, TEXT_END]):
        state = guard_next[state, text[k]]
    symbols[n_symbols, TAIL] = state
    symbols[n_symbols, USED_AT] = -1
    a, b = symbols[left, CROSSING], symbols[right, CROSSING]
    symbols[n_symbols, CROSSING] = (
        (a & CROSSING_FIRST) | (b & CROSSING_FIRST << CROSSING_LAST_SHIFT) | ((a | b) & CROSSING_INSIDE)
    )
    symbols[n_symbols, HASH] = symbols[left, HASH] * symbols[right, POWER] + symbols[right, HASH]
    symbols[n_symbols, POWER] = symbols[left, POWER] * symbols[right, POWER]
    return n_text


@_inner
def _add_to_folds(weights, changed, n_changed, folds, row):  # type: ignore[no-untyped-def]
    """Add the tokens saved in chunks changed[:n_changed] to `row` [n_groups], and forget them."""
    offsets, groups, counts = folds
    saved = weights.shape[1] - 1
    # Many chunks are visited in order, which the cache likes better than in the order of their changes.
    in_order = n_changed * 8 > weights.shape[0]
    for i in range(weights.shape[0] if in_order else n_changed):
        chunk = i if in_order else np.int64(changed[i])
        if weights[chunk, saved] == 0:
            continue
        for k in range(offsets[chunk], offsets[chunk + 1]):
            row[groups[k]] += weights[chunk, saved] * counts[k]
        weights[chunk, saved] = 0


@njit(cache=True, nogil=True)
def grow(  # type: ignore[no-untyped-def]
    slots, weights, protected, has_protected, symbols, is_open, n_symbols, text, n_text, reserved, guard, crossings,
    max_added, min_saving, divisor, steering, fold_sizes, n_groups, folds, near, places, progress
):  # fmt: skip
    """Add up to `max_added` tokens, best saving first; with several targets the best of the one served worst.

    slots: int32 [n_slots, 2], changed.
    weights: int64 [n_chunks, n_sets + 1], the targets' training sets first; the last column, 0 at the start, is where
        tokens saved per chunk are kept, since a chunk's row is at hand then.
    protected: bool [n_chunks].
    symbols: int64 [n_symbols + max_added, 10]; is_open: bool, one a symbol (apart, since every neighbour is asked);
        text: uint8, their bytes.
    reserved: int64 [n, 2], hash of a spelling that no new piece may take, and the symbol to merge into (0: none).
    guard: (next states int16 [n_states, 256], accepts bool [n_states, 256]).
    crossings: bool [4, 4], which ends of symbols (CROSSING) no new piece may join.
    divisor: the threshold is lowered by this factor.
    steering: int64 [3, n_targets], what tells how a target is served: the column of weights of its text, the tokens of
        that text now, and those to divide by.
    fold_sizes: rows after which the tokens saved per group are noted; folds: (offsets, groups, counts) of the chunks.
    near: int64 [any, 2 + n_targets], places: int32 [any]: stores to begin with; NumPy's large ones lie in huge pages.
    progress: int64 [2], ROWS_DONE is written, STOP is read.

    Returns events [n_events, 4 + n_sets], tokens saved [n_fold_sizes, n_groups], and the pairs [n, 2] that were best
    but would change protected text, once per index. The text ran dry when fewer than `max_added` rows were made.
    """
    n_sets = weights.shape[1] - 1
    events = np.empty((1024, 4 + n_sets), np.int64)
    n_targets = steering.shape[1]
    candidates = np.empty((1024, N_CANDIDATE_COLUMNS), np.int64)
    heaps, n_heap = np.empty((n_targets, 1024), np.int64), np.zeros(n_targets, np.int64)
    measured, remaining = steering[0], steering[1].copy()
    dense, sizes = np.zeros((symbols.shape[0], 3), np.int64), np.zeros(4, np.int64)
    changed = np.empty(weights.shape[0] + 1, np.int32)
    counts = np.zeros(n_sets, np.int64)
    fold_saved = np.zeros((fold_sizes.size, n_groups), np.int64)
    flags = np.zeros(2, np.int64)
    flags[RECOUNT_ALL] = has_protected
    rules = (guard[0], guard[1], reserved, flags, crossings)
    n_rows, n_events, n_folds, n_blocked = NO, NO, NO, NO
    thresholds = np.zeros(n_targets, np.int64)
    blocked = np.empty((16, 2), np.int64)
    for chunk_slot in range(slots.shape[0]):
        # No pair and no opened character saves more than three tokens an occurrence, so this is a fair start.
        if slots[chunk_slot, 0]:
            for target in range(n_targets):
                thresholds[target] += weights[slots[chunk_slot, 1], target]
    thresholds //= divisor
    while n_rows < max_added and not progress[STOP]:
        # 1. Index the text as it stands, for candidates down to lower thresholds than before.
        flags[RESERVED_MAY_MERGE] = NO
        slots = slots[: _compact(slots, symbols, is_open)]
        sizes[N_CANDIDATES], sizes[N_PLACES_USED] = 0, 0
        for target in range(n_targets):
            # Savings fall about as a power of the rank, so the last can be guessed; a wrong guess costs one more index.
            guess = thresholds[target] * (max(n_rows, 1) / max_added) ** GUESSED_EXPONENT / 2
            thresholds[target] = max(thresholds[target] // divisor, np.int64(guess), min_saving)
            first, n_heap[target] = sizes[N_CANDIDATES], 0
            candidates, places, near = _index(
                slots, weights, n_symbols, n_events, target, thresholds[target],
                candidates, places, sizes, near, dense, symbols, is_open, text, rules
            )  # fmt: skip
            heaps = _wider(heaps, sizes[N_CANDIDATES] - first)
            for candidate in range(first, sizes[N_CANDIDATES]):
                _push(heaps[target], n_heap[target], candidate, candidates, symbols, text)
                n_heap[target] += 1
        flags[RESERVED_MAY_MERGE] = YES
        # 2. Take the best candidate, again and again.
        while not progress[STOP]:
            target = _worst_served(heaps, n_heap, candidates, thresholds, min_saving, remaining, steering[2])
            if target < 0 or n_heap[target] == 0:
                break
            heap = heaps[target]
            best = heap[0]
            left, right, bound = candidates[best, LEFT], candidates[best, RIGHT], candidates[best, BOUND]
            if n_rows == max_added and bound < FREE:
                break
            # 3. Its count is an upper bound if one of its symbols was used since: count again.
            counted_at = candidates[best, COUNTED_AT]
            if counted_at < 0 or counted_at < max(symbols[left, USED_AT], symbols[right, USED_AT]):
                count = _recount(best, candidates, places, sizes, slots, weights, protected)
                if right == 0:
                    # Another target may have opened it.
                    count *= 0 if is_open[left] else symbols[left, EXTRA]
                candidates[best, COUNTED_AT] = n_events
                if count < bound < FREE:
                    candidates[best, BOUND] = count
                    if count < thresholds[target]:
                        n_heap[target] -= 1
                        best = heap[n_heap[target]]
                    if n_heap[target] > 0:
                        _replace_top(heap, n_heap[target], best, candidates, symbols, text)
                    continue
            n_heap[target] -= 1
            if n_heap[target] > 0:
                _replace_top(heap, n_heap[target], heap[n_heap[target]], candidates, symbols, text)
            if candidates[best, IS_BLOCKED]:
                blocked = _room(blocked, n_blocked + 1)
                blocked[n_blocked, 0], blocked[n_blocked, 1] = left, right
                n_blocked += 1
                continue
            # 4. A new row, unless it only opens the way to a piece that is already there.
            saving, new = np.int64(1), left
            if bound < FREE:
                if n_folds < fold_sizes.size and fold_sizes[n_folds] == n_rows:
                    _add_to_folds(weights, changed, sizes[N_CHANGED], folds, fold_saved[n_folds])
                    sizes[N_CHANGED] = 0
                    n_folds += 1
                n_rows += 1
                if right == 0:
                    saving = symbols[left, EXTRA]
                    is_open[left] = True
                else:
                    new = n_symbols
                    size = symbols[left, TEXT_END] - symbols[left, TEXT_START]
                    size += symbols[right, TEXT_END] - symbols[right, TEXT_START]
                    text = _room(text, n_text + size)
                    n_text = _make_symbol(left, right, new, n_text, symbols, text, guard[0])
                    is_open[new] = True
                    n_symbols += 1
            else:
                new = reserved[_reserved(left, right, symbols, reserved), 1]
                is_open[new] = True
            symbols[left, USED_AT] = n_events + 1
            if right != 0:
                symbols[right, USED_AT] = n_events + 1
            # 5. Apply it everywhere, and collect the candidates it brings.
            near = _room(near, 2 * candidates[best, N_PLACES] + 2)
            for text_set in range(n_sets):
                counts[text_set] = 0
            n_left, right_begin, right_end = _apply(
                best, new, saving, candidates, places, sizes, slots, weights, near, is_open, counts, changed
            )
            events = _room(events, n_events + 1)
            events[n_events, EVENT_LEFT] = left
            events[n_events, EVENT_RIGHT] = right
            events[n_events, EVENT_NEW] = new
            events[n_events, EVENT_ROW] = n_rows
            for text_set in range(n_sets):
                events[n_events, EVENT_COUNTS + text_set] = counts[text_set]
            n_events += 1
            n_new = n_left + right_end - right_begin
            candidates = _room(candidates, sizes[N_CANDIDATES] + n_targets * n_new)
            places = _room(places, sizes[N_PLACES_USED] + n_targets * n_new)
            for target in range(n_targets):
                remaining[target] -= saving * counts[measured[target]]
                first = sizes[N_CANDIDATES]
                _collect(
                    new, NO, near, NO, n_left, n_events, target, thresholds[target],
                    candidates, places, sizes, dense, symbols, text, rules
                )  # fmt: skip
                _collect(
                    new, YES, near, right_begin, right_end, n_events, target, thresholds[target],
                    candidates, places, sizes, dense, symbols, text, rules
                )  # fmt: skip
                heaps = _wider(heaps, n_heap[target] + sizes[N_CANDIDATES] - first)
                for candidate in range(first, sizes[N_CANDIDATES]):
                    _push(heaps[target], n_heap[target], candidate, candidates, symbols, text)
                    n_heap[target] += 1
            progress[ROWS_DONE] = n_rows
        if (thresholds == min_saving).all():
            break
    # 6. The sizes not yet noted have what there is.
    while n_folds < fold_sizes.size:
        _add_to_folds(weights, changed, sizes[N_CHANGED], folds, fold_saved[n_folds])
        sizes[N_CHANGED] = 0
        n_folds += 1
    for row in range(1, fold_sizes.size):
        for group in range(n_groups):
            fold_saved[row, group] += fold_saved[row - 1, group]
    return events[:n_events], fold_saved, blocked[:n_blocked]
