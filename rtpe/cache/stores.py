"""Where records lie on disk: HDF5 shards of many, or one npz file for each.

A store maps image ids to records: `write`, `read`, of all or of the first bytes, `flush`, `in`, `len`, iteration over
the ids, `nbytes`, `where`, the file that holds an id, `files`, all that it has, `damage`, whether a byte of one of them
changed, `mend`, and `refresh`, which reads the folder again where another process changed it. Finished files appear
whole or not at all, end with a digest of all their bytes, and never change afterwards. A store holds no open file while
it is read, so that it may be forked and used by several processes at once.
"""

from __future__ import annotations

from pathlib import Path

from rtpe.cache import hdf5, npz
from rtpe.cache.hdf5 import Hdf5Store
from rtpe.cache.npz import NpzStore
from rtpe.cache.sealed import is_numbered, numbered
from rtpe.files import remove_hidden

STORES = {"hdf5": Hdf5Store, "npz": NpzStore}


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed run had begun to write, and journals whose shard it had just finished; nothing else."""
    remove_hidden(folder, lambda name: is_numbered(name, hdf5.DIGITS, ".h5") or is_numbered(name, npz.DIGITS, ".npz"))
    shards = numbered(folder, hdf5.DIGITS, ".h5")
    for journal in numbered(folder, hdf5.DIGITS, ".journal"):
        if journal.with_suffix(".h5") in shards:
            journal.unlink()
