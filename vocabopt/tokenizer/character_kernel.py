"""A compiled look at every character of documents."""

from vocabopt.compiled import njit


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
