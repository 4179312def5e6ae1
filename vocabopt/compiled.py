"""numba's `njit`, with a cache that can be written wherever this runs: all kernels take it from here."""

import os

from vocabopt.caches import use_caches

use_caches()

from numba import config, njit  # noqa: E402 (it reads where its cache is when it is imported)

config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", config.CACHE_DIR)  # type: ignore[attr-defined]

__all__ = ["njit"]
