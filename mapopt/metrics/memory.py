"""Memory that is freed is kept for the next evaluation.

The C library of Linux gives freed memory back to the system at once while a process has only ever freed small blocks,
and gets it anew page by page: for small problems that costs more than all counting. Once a block of up to 32 MiB has
been freed, as by any program that works on batches of images, it keeps what is freed. So one is allocated and freed
here; it is never written to, so it costs nothing. On other systems it does nothing either.

Reference: mallopt(3), M_MMAP_THRESHOLD, "Note: Nowadays, glibc uses a dynamic mmap threshold by default".
"""

from __future__ import annotations

from functools import cache

import numpy as np

_LARGEST_KEPT = 31 << 20
"""Bytes; just below the largest block that the C library learns from."""


@cache
def keep_freed_memory() -> None:
    """Lets the C library keep memory that this process frees; the first call does it."""
    np.empty(_LARGEST_KEPT, np.uint8)
