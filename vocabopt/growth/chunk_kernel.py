"""Compiled counting of chunks: bytes of documents in, unique chunks and their counts per group out.

A chunk is a run of spaces and what follows it up to the next run; its first space may be virtual (the dummy
prefix of SentencePiece-style bases). Unique chunks live in one byte arena, NUL-terminated, so that the arena is at
once the store of the hash table and the text handed to the base's encoder. NUL never occurs in documents:
the readers refuse it.

Each thread counts the chunks whose hash falls into its share, over all the text: the stores are disjoint, so
nothing has to be merged, and smaller tables miss the cache less. Documents come group by group; a chunk remembers
the group it is being counted for, and an entry (chunk, group, count) is written when the group changes.
"""

import numpy as np

from vocabopt.compiled import njit

# Functions called from compiled code alone need no way in from Python, which takes time to compile.
_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

SPACE = 0x20
NEWLINE = 0x0A
FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
LOW_HALF = 0xFFFFFFFF

# How the first chunk of a document starts.
BARE = 0  # as the text does
PREFIXED = 1  # with a virtual space
PREFIXED_UNLESS_SPACE = 2  # with a virtual space where the text has none

# Columns of `chunks`, one row per unique chunk: where its text is in the arena, and the count under way.
TEXT_START, TEXT_END, OPEN_GROUP, OPEN_COUNT, HASH = 0, 1, 2, 3, 4
# Columns of `cuts`: one chunk of the text not yet looked up.
CUT_START, CUT_END, CUT_VIRTUAL, CUT_GROUP = 0, 1, 2, 3
# Columns of `entries`.
CHUNK, GROUP, COUNT = 0, 1, 2
# Places of `sizes`: how full each store is, where the cutting stands, how many cuts wait, and a sink.
N_CHUNKS, N_ARENA, N_ENTRIES, AT_DOCUMENT, AT_POSITION, N_WAITING, TOUCHED = 0, 1, 2, 3, 4, 5, 6
# What ends a chunk besides the end of its document: nothing; a space after any other character, and where a run of
# newlines begins or ends; that, and each newline by itself; a space after a character that is not white space.
CUT_NOWHERE, CUT_AT_SPACES_AND_NEWLINE_RUNS, CUT_AT_SPACES_AND_NEWLINES, CUT_AT_SPACES_AFTER_TEXT = 0, 1, 2, 3
# Columns of the places in crossing pieces: where the piece's text starts and ends, and which of its bytes would begin
# a chunk.
PIECE_START, PIECE_END, PIECE_CUT = 0, 1, 2


@_inner
def _finalise(h):  # type: ignore[no-untyped-def]
    """The finaliser of splitmix64: every bit of the result depends on every bit of `h`."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@njit(cache=True, nogil=True)
def scan_documents(data, starts, ends, seed, suspicious):  # type: ignore[no-untyped-def]
    """One look at every byte: content hash, characters, and whether a document needs a closer look.

    Returns per document: FNV-1a (64 bits) with `seed` mixed in, finalised, the same on every machine; the number of
    UTF-8 characters; whether two neighbouring bytes are in `suspicious` (bool [65536]; past the end counts as 0).
    """
    hashes = np.empty(starts.size, np.uint64)
    n_chars = np.zeros(starts.size, np.int64)
    suspects = np.zeros(starts.size, np.bool_)
    # Most bytes begin nothing suspicious, and this table stays in the first-level cache.
    begins = np.zeros(256, np.bool_)
    for pair in range(suspicious.size):
        begins[pair >> 8] |= suspicious[pair]
    for document in range(starts.size):
        # A loop each: only the hash has to go byte by byte, the compiler makes vectors of the others.
        text = data[starts[document] : ends[document]]
        h = FNV_OFFSET ^ seed
        for position in range(text.size):
            h = (h ^ np.uint64(text[position])) * FNV_PRIME
        hashes[document] = _finalise(h)
        n_continuations = 0
        for position in range(text.size):
            n_continuations += (text[position] & 0xC0) == 0x80
        n_chars[document] = text.size - n_continuations
        before, suspect = np.int64(0), False
        for position in range(text.size):
            byte = np.int64(text[position])
            if begins[before]:
                suspect |= suspicious[before << 8 | byte]
            before = byte
        suspects[document] = suspect | suspicious[before << 8]
    return hashes, n_chars, suspects


@njit(cache=True, nogil=True)
def mark_documents(data, starts, ends, is_sought, found):  # type: ignore[no-untyped-def]
    """found[i] = True where the document data[starts[i]:ends[i]] holds a character that is sought, by its code point.

    data: uint8, UTF-8. is_sought: bool [0x110000]. found: bool [n_documents].
    """
    for document in range(starts.size):
        position, end = starts[document], ends[document]
        while position < end:
            # 1. ASCII in one step.
            point, n_more = int(data[position]), 0
            if point >= 0x80:
                # 2. The first byte says how many follow, of six bits each.
                n_more = 1 + (point >= 0xE0) + (point >= 0xF0)
                point &= 0x3F >> n_more
                for k in range(1, n_more + 1):
                    point = point << 6 | (data[position + k] & 0x3F)
            if is_sought[point]:
                found[document] = True
                break
            position += 1 + n_more


@_inner
def _white_before(data, start, position):  # type: ignore[no-untyped-def]
    """Whether the character that ends before `position` (and begins at `start` or later) is Unicode white space."""
    last = data[position - 1]
    if last < 0x80:
        return 0x09 <= last <= 0x0D or last == SPACE
    before = data[position - 2]
    if before == 0xC2:  # U+0085, U+00A0
        return last == 0x85 or last == 0xA0
    if position - start < 3:
        return False
    lead = data[position - 3]
    if lead == 0xE2:  # U+2000..200A, U+2028, U+2029, U+202F; U+205F
        if before == 0x80:
            return last <= 0x8A or last == 0xA8 or last == 0xA9 or last == 0xAF
        return before == 0x81 and last == 0x9F
    # U+1680; U+3000
    return last == 0x80 and ((lead == 0xE1 and before == 0x9A) or (lead == 0xE3 and before == 0x80))


@_inner
def _is_cut(before, byte, cut_at):  # type: ignore[no-untyped-def]
    """Whether a chunk of the SentencePiece family may begin between two bytes."""
    if byte == SPACE:
        return before != SPACE
    if byte == NEWLINE:
        return before != NEWLINE or cut_at == CUT_AT_SPACES_AND_NEWLINES
    return before == NEWLINE


@_inner
def _is_crossed(data, start, end, is_virtual, position, crossing):  # type: ignore[no-untyped-def]
    """Whether the document data[start:end] holds one of the base's pieces across `position`.

    crossing: (first, places, text): the places where pieces would be cut, by the byte before them, int64 [257] and
    [n, 3], and the text of the pieces. is_virtual: a space stands before the document.
    """
    first, places, text = crossing
    before = np.int64(data[position - 1]) if position > start else SPACE
    for i in range(first[before], first[before + 1]):
        shift = position - places[i, PIECE_CUT]
        size = places[i, PIECE_END] - places[i, PIECE_START]
        if shift < start - is_virtual or shift + size > end:
            continue
        is_same = True
        for k in range(size):
            byte = data[shift + k] if shift + k >= start else SPACE
            if byte != text[places[i, PIECE_START] + k]:
                is_same = False
                break
        if is_same:
            return True
    return False


@_inner
def _cut(  # type: ignore[no-untyped-def]
    data, starts, ends, openings, groups, order, cut_at, crossing, share, n_shares, sizes, cuts, hashes
):
    """Cut documents into chunks from where `sizes` stands until `cuts` is full; returns how many were cut."""
    n_cuts = 0
    has_crossing = crossing[1].shape[0] > 0
    at_spaces = cut_at == CUT_AT_SPACES_AND_NEWLINE_RUNS or cut_at == CUT_AT_SPACES_AND_NEWLINES
    while sizes[AT_DOCUMENT] < order.size and n_cuts < hashes.size:
        document = order[sizes[AT_DOCUMENT]]
        position, stop, start, virtual = sizes[AT_POSITION], ends[document], starts[document], False
        opening = openings[document]
        is_prefixed = opening == PREFIXED or (opening == PREFIXED_UNLESS_SPACE and data[start] != SPACE)
        if position < 0:
            position, virtual = start, is_prefixed
        while position < stop and n_cuts < hashes.size:
            a = position
            h = FNV_OFFSET
            if virtual:
                h = (h ^ np.uint64(SPACE)) * FNV_PRIME
            if at_spaces:
                before = np.int64(SPACE)
                if not virtual:
                    before = np.int64(data[position])
                    h = (h ^ np.uint64(before)) * FNV_PRIME
                    position += 1
                while position < stop:
                    byte = np.int64(data[position])
                    if _is_cut(before, byte, cut_at) and not (
                        has_crossing and _is_crossed(data, start, stop, is_prefixed, position, crossing)
                    ):
                        break
                    h = (h ^ np.uint64(byte)) * FNV_PRIME
                    position += 1
                    before = byte
            else:
                while position < stop:
                    byte = np.int64(data[position])
                    if byte == SPACE and cut_at != CUT_NOWHERE and position > a:
                        if not _white_before(data, a, position):
                            break
                    h = (h ^ np.uint64(byte)) * FNV_PRIME
                    position += 1
            h = _finalise(h)
            if np.int64(h >> np.uint64(56)) % n_shares == share:
                hashes[n_cuts] = h
                cuts[n_cuts, CUT_START] = a
                cuts[n_cuts, CUT_END] = position
                cuts[n_cuts, CUT_VIRTUAL] = virtual
                cuts[n_cuts, CUT_GROUP] = groups[document]
                n_cuts += 1
            virtual = False
        sizes[AT_POSITION] = position
        if position >= stop:
            sizes[AT_DOCUMENT] += 1
            sizes[AT_POSITION] = -1
    return n_cuts


@_inner
def _fetch(hashes, n_cuts, table, chunks, arena):  # type: ignore[no-untyped-def]
    """Touch the memory that `_count` will need. These loads do not wait for each other, so their cache misses overlap:
    counting takes 0.6 to 0.7 times as long with it (reports/LOG.md)."""
    mask = np.uint64(table.size - 1)
    touched = np.int64(0)
    for i in range(n_cuts):
        touched += table[hashes[i] & mask]
    for i in range(n_cuts):
        chunk = (table[hashes[i] & mask] & LOW_HALF) - 1
        if chunk >= 0:
            touched += chunks[chunk, TEXT_START]
    for i in range(n_cuts):
        chunk = (table[hashes[i] & mask] & LOW_HALF) - 1
        if chunk >= 0:
            touched += arena[chunks[chunk, TEXT_START]]
    return touched


@_inner
def _same(data, a, b, virtual, arena, start, end):  # type: ignore[no-untyped-def]
    if end - start != b - a + virtual or (virtual and arena[start] != SPACE):
        return False
    start += virtual - a
    for position in range(a, b):
        if data[position] != arena[start + position]:
            return False
    return True


@_inner
def _count(data, cuts, hashes, n_cuts, sizes, table, chunks, arena, entries):  # type: ignore[no-untyped-def]
    """Look each chunk up, add it if it is new, and count it for its group."""
    mask = np.uint64(table.size - 1)
    for i in range(n_cuts):
        h = hashes[i]
        a, b, virtual, group = cuts[i, CUT_START], cuts[i, CUT_END], cuts[i, CUT_VIRTUAL], cuts[i, CUT_GROUP]
        # A place of the table holds the chunk's number + 1 below and 31 bits of its hash above; 0 is free.
        tag = np.int64(h >> np.uint64(33))
        slot = h & mask
        while True:
            place = table[slot]
            chunk = (place & LOW_HALF) - 1
            if place == 0 or (
                place >> 32 == tag
                and _same(data, a, b, virtual, arena, chunks[chunk, TEXT_START], chunks[chunk, TEXT_END])
            ):
                break
            slot = (slot + np.uint64(1)) & mask
        if place == 0:
            chunk = sizes[N_CHUNKS]
            sizes[N_CHUNKS] += 1
            table[slot] = (tag << 32) | (chunk + 1)
            end = sizes[N_ARENA]
            chunks[chunk, TEXT_START] = end
            if virtual:
                arena[end] = SPACE
                end += 1
            for position in range(a, b):
                arena[end] = data[position]
                end += 1
            chunks[chunk, TEXT_END] = end
            arena[end] = 0
            sizes[N_ARENA] = end + 1
            chunks[chunk, OPEN_GROUP] = group
            chunks[chunk, OPEN_COUNT] = 0
            chunks[chunk, HASH] = np.int64(h)
        elif chunks[chunk, OPEN_GROUP] != group:
            entry = sizes[N_ENTRIES]
            sizes[N_ENTRIES] += 1
            entries[entry, CHUNK] = chunk
            entries[entry, GROUP] = chunks[chunk, OPEN_GROUP]
            entries[entry, COUNT] = chunks[chunk, OPEN_COUNT]
            chunks[chunk, OPEN_GROUP] = group
            chunks[chunk, OPEN_COUNT] = 0
        chunks[chunk, OPEN_COUNT] += 1


@njit(cache=True, nogil=True)
def count_block(  # type: ignore[no-untyped-def]
    data, starts, ends, openings, groups, order, cut_at, crossing, share, n_shares,
    sizes, cuts, hashes, table, chunks, arena, entries
):  # fmt: skip
    """Count the chunks of a block of documents that fall into this share.

    The stores (`table`, `chunks`, `arena`, `entries`) may be too small for what comes next. Then False is returned
    with nothing lost: `cuts` of the last round stay uncounted until the caller has enlarged the stores and
    called again. True: the block is done, and `sizes` stands ready for the next one.
    """
    while True:
        if sizes[N_WAITING] == 0:
            sizes[N_WAITING] = _cut(
                data, starts, ends, openings, groups, order, cut_at, crossing, share, n_shares, sizes, cuts, hashes
            )
            if sizes[N_WAITING] == 0:
                sizes[AT_DOCUMENT] = 0
                sizes[AT_POSITION] = -1
                return True
        n_cuts = sizes[N_WAITING]
        n_bytes = np.int64(0)
        for i in range(n_cuts):
            n_bytes += cuts[i, CUT_END] - cuts[i, CUT_START] + 2
        if (
            2 * (sizes[N_CHUNKS] + n_cuts) > table.size
            or sizes[N_CHUNKS] + n_cuts > chunks.shape[0]
            or sizes[N_ARENA] + n_bytes > arena.size
            or sizes[N_ENTRIES] + n_cuts > entries.shape[0]
        ):
            return False
        sizes[TOUCHED] = _fetch(hashes, n_cuts, table, chunks, arena)
        _count(data, cuts, hashes, n_cuts, sizes, table, chunks, arena, entries)
        sizes[N_WAITING] = 0


@njit(cache=True, nogil=True)
def fill_table(table, chunks, n_chunks):  # type: ignore[no-untyped-def]
    """Enter all chunks into an empty table (zeros, a power of two), as `_count` would have."""
    mask = np.uint64(table.size - 1)
    for chunk in range(n_chunks):
        h = np.uint64(chunks[chunk, HASH])
        slot = h & mask
        while table[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = (np.int64(h >> np.uint64(33)) << 32) | (chunk + 1)


@njit(cache=True, nogil=True)
def close_counts(chunks, n_chunks, entries, n_entries):  # type: ignore[no-untyped-def]
    """Make entries of the counts under way; returns how many entries there are then."""
    for chunk in range(n_chunks):
        if chunks[chunk, OPEN_COUNT] > 0:
            entries[n_entries, CHUNK] = chunk
            entries[n_entries, GROUP] = chunks[chunk, OPEN_GROUP]
            entries[n_entries, COUNT] = chunks[chunk, OPEN_COUNT]
            chunks[chunk, OPEN_COUNT] = 0
            n_entries += 1
    return n_entries


@njit(cache=True, nogil=True)
def add_up_entries(entries, n_entries, n_chunks, n_groups):  # type: ignore[no-untyped-def]
    """Make one entry of those of the same chunk and group, in place; returns how many are left."""
    ends = np.zeros(n_chunks + 1, np.int64)
    for entry in range(n_entries):
        ends[entries[entry, CHUNK] + 1] += 1
    for chunk in range(n_chunks):
        ends[chunk + 1] += ends[chunk]
    order, fill = np.empty(n_entries, np.int64), ends[:-1].copy()
    for entry in range(n_entries):
        chunk = entries[entry, CHUNK]
        order[fill[chunk]] = entry
        fill[chunk] += 1
    # Sums go to the first entry of a chunk and group; the others are left empty, and then closed up.
    place_of = np.full(n_groups, -1, np.int64)
    for chunk in range(n_chunks):
        for k in range(ends[chunk], ends[chunk + 1]):
            entry = order[k]
            first = place_of[entries[entry, GROUP]]
            if first >= 0 and entries[first, CHUNK] == chunk:
                entries[first, COUNT] += entries[entry, COUNT]
                entries[entry, COUNT] = 0
            else:
                place_of[entries[entry, GROUP]] = entry
    n_kept = 0
    for entry in range(n_entries):
        if entries[entry, COUNT] > 0:
            entries[n_kept] = entries[entry]
            n_kept += 1
    return n_kept


@njit(cache=True, nogil=True)
def keep_groups(sizes, chunks, arena, entries, keep):  # type: ignore[no-untyped-def]
    """Forget what was counted for groups that are not to be kept, and chunks that only they have; the table is then
    to be filled again. keep: bool [n_groups]."""
    n_chunks, n_entries = sizes[N_CHUNKS], sizes[N_ENTRIES]
    number_of = np.full(n_chunks, -1, np.int64)
    for entry in range(n_entries):
        if keep[entries[entry, GROUP]] and entries[entry, COUNT] > 0:
            number_of[entries[entry, CHUNK]] = 0
    n_kept, n_arena = 0, 0
    for chunk in range(n_chunks):
        is_open = keep[chunks[chunk, OPEN_GROUP]] and chunks[chunk, OPEN_COUNT] > 0
        if number_of[chunk] < 0 and not is_open:
            continue
        number_of[chunk] = n_kept
        start, size = chunks[chunk, TEXT_START], chunks[chunk, TEXT_END] - chunks[chunk, TEXT_START]
        for position in range(size + 1):  # the NUL behind it too
            arena[n_arena + position] = arena[start + position]
        chunks[n_kept] = chunks[chunk]
        chunks[n_kept, TEXT_START], chunks[n_kept, TEXT_END] = n_arena, n_arena + size
        if not is_open:
            chunks[n_kept, OPEN_COUNT] = 0
        n_arena += size + 1
        n_kept += 1
    n_kept_entries = 0
    for entry in range(n_entries):
        if keep[entries[entry, GROUP]] and entries[entry, COUNT] > 0:
            entries[n_kept_entries] = entries[entry]
            entries[n_kept_entries, CHUNK] = number_of[entries[entry, CHUNK]]
            n_kept_entries += 1
    sizes[N_CHUNKS], sizes[N_ARENA], sizes[N_ENTRIES] = n_kept, n_arena, n_kept_entries


@njit(cache=True, nogil=True)
def finish(sizes, chunks, entries, n_groups, offsets, groups, counts):  # type: ignore[no-untyped-def]
    """Group entries by chunk (counting sort), the count under way included, each group once.

    offsets: int64 [n_chunks + 1], zeros; groups, counts: [n_entries + n_chunks]. Returns how many of these are used.
    """
    n_chunks, n_entries = sizes[N_CHUNKS], sizes[N_ENTRIES]
    for chunk in range(n_chunks):
        offsets[chunk + 1] = 1
    for entry in range(n_entries):
        offsets[entries[entry, CHUNK] + 1] += 1
    for chunk in range(n_chunks):
        offsets[chunk + 1] += offsets[chunk]
    fill = offsets.copy()
    for chunk in range(n_chunks):
        groups[fill[chunk]] = chunks[chunk, OPEN_GROUP]
        counts[fill[chunk]] = chunks[chunk, OPEN_COUNT]
        fill[chunk] += 1
    for entry in range(n_entries):
        chunk = entries[entry, CHUNK]
        groups[fill[chunk]] = entries[entry, GROUP]
        counts[fill[chunk]] = entries[entry, COUNT]
        fill[chunk] += 1
    # A group comes up once a block of text: add those up.
    place_of = np.full(n_groups, -1, np.int64)
    kept, begin = 0, 0
    for chunk in range(n_chunks):
        first, end = kept, offsets[chunk + 1]
        for k in range(begin, end):
            group = groups[k]
            if counts[k] == 0:
                continue
            if place_of[group] >= first:
                counts[place_of[group]] += counts[k]
                continue
            place_of[group] = kept
            groups[kept] = group
            counts[kept] = counts[k]
            kept += 1
        offsets[chunk + 1] = kept
        begin = end
    return kept


@njit(cache=True, nogil=True)
def count_code_points(text, ends, weight):  # type: ignore[no-untyped-def]
    """Occurrences of each code point, int64 [0x110000], in NUL-terminated UTF-8 chunks with weights."""
    totals = np.zeros(0x110000, np.int64)
    position = 0
    for chunk in range(ends.size):
        code_point, n_to_come = 0, 0
        while position < ends[chunk]:
            byte = np.int64(text[position])
            if n_to_come > 0:
                code_point = code_point << 6 | (byte & 0x3F)
                n_to_come -= 1
            elif byte < 0x80:
                code_point = byte
            else:
                n_to_come = 1 + (byte >= 0xE0) + (byte >= 0xF0)
                code_point = byte & (0x3F >> n_to_come)
            if n_to_come == 0:
                totals[code_point] += weight[chunk]
            position += 1
        position += 1
    return totals


@njit(cache=True, nogil=True)
def add_up(offsets, columns, counts, weights):  # type: ignore[no-untyped-def]
    """weights[chunk, columns[k]] += counts[k] for each chunk's entries k."""
    for chunk in range(offsets.size - 1):
        for k in range(offsets[chunk], offsets[chunk + 1]):
            weights[chunk, columns[k]] += counts[k]


@njit(cache=True, nogil=True)
def add_up_groups(offsets, groups, counts, factors, totals):  # type: ignore[no-untyped-def]
    """totals[groups[k]] += counts[k] x factors[chunk] for each chunk's entries k."""
    for chunk in range(offsets.size - 1):
        for k in range(offsets[chunk], offsets[chunk + 1]):
            totals[groups[k]] += counts[k] * factors[chunk]


@njit(cache=True, nogil=True)
def count_words(text, ends):  # type: ignore[no-untyped-def]
    """Runs of characters that are not white space, per NUL-terminated UTF-8 chunk."""
    n_words = np.zeros(ends.size, np.int64)
    start = 0
    for chunk in range(ends.size):
        inside = False
        for position in range(start + 1, ends[chunk] + 1):
            # Only where a character ends: `position` is behind the chunk, or at a character's first byte.
            if position < ends[chunk] and (text[position] & 0xC0) == 0x80:
                continue
            white = _white_before(text, start, position)
            n_words[chunk] += not white and not inside
            inside = not white
        start = ends[chunk] + 1
    return n_words
