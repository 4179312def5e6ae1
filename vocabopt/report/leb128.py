"""Integers in few bytes, for what travels in the page: LEB128, seven bits a byte, the lowest first."""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def leb128(values: npt.ArrayLike) -> bytes:
    """Non-negative integers, seven bits a byte, the lowest first; all but a number's last have the top bit set."""
    rest = np.asarray(values, dtype=np.uint64)
    if not rest.size:
        return b""
    n_groups = max(1, -(-int(rest.max()).bit_length() // 7))
    shifts = np.arange(n_groups, dtype=np.uint64) * np.uint64(7)
    groups = (rest[:, None] >> shifts) & np.uint64(0x7F)
    above = (rest[:, None] >> shifts) >> np.uint64(7)
    groups |= np.where(above > 0, np.uint64(0x80), np.uint64(0))
    is_there = np.concatenate([np.ones((rest.size, 1), bool), above[:, :-1] > 0], axis=1)
    encoded: bytes = groups[is_there].astype(np.uint8).tobytes()
    return encoded


def differences(first: int, values: npt.ArrayLike) -> bytes:
    """Each value less the one before it, as zigzag: 0, -1, 1, -2 ... become 0, 1, 2, 3 ..."""
    steps = np.diff(np.asarray(values, dtype=np.int64), prepend=np.int64(first))
    return leb128(np.where(steps < 0, -2 * steps - 1, 2 * steps))
