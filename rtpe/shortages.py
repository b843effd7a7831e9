"""What a machine has too little of, as one line with a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rtpe.errors import UserError

# as torch says it of a processor, of a GPU, and of the libraries that compute there
MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|could not create a memory|ALLOC_FAILED")
LOADER = re.compile(r"DataLoader worker \(pid")  # of one that was killed; an error within it is named otherwise


@contextmanager
def named_shortages(remedy: str) -> Iterator[None]:
    """Turn an allocation that fails, and a loader process that is killed, into a line with what to do about it.

    Raises:
        UserError: in the place of either; other errors pass.
    """
    try:
        yield
    except MemoryError as error:
        raise UserError(f"memory: not enough of it: pass {remedy}") from error
    except RuntimeError as error:
        if LOADER.search(str(error)):
            raise UserError(
                "a loader process was killed, perhaps for want of memory: pass fewer --train.workers, or "
                "--train.workers 0"
            ) from error
        if not MEMORY.search(str(error)):
            raise
        raise UserError(f"memory: not enough of it: pass {remedy}") from error
