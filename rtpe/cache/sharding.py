"""Many processes build one cache: on one machine under torchrun, or on several that share nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rtpe.cache.cache import Cache
from rtpe.cache.folder import PARTS, remove_parts
from rtpe.cache.manifest import Manifest
from rtpe.cache.transfer import absorb
from rtpe.errors import UserError

BARRIER_TIMEOUT = timedelta(days=7)  # one process may have much more to do than another


@dataclass(frozen=True)
class Shard:
    """The part of the images that is this process's.

    Attributes:
        index, count: every `count`-th image from number `index` on.
        together: all processes write one cache; else each its own.
        local: the process's number on its machine.
    """

    index: int = 0
    count: int = 1
    together: bool = False
    local: int = 0

    def __str__(self) -> str:
        return f" (part {self.index + 1} of {self.count})" if self.count > 1 else ""

    @contextmanager
    def folder(self, path: Path, manifest: Manifest) -> Iterator[tuple[Path, Cache | None]]:
        """Where this process writes, and, if that is a part, the whole cache with what is done already; joins the parts
        when all have finished.
        """
        if not self.together:
            yield path, None
            return
        import torch.distributed as group

        group.init_process_group("gloo", timeout=BARRIER_TIMEOUT)
        # the first process keeps the whole cache locked: another run would take the parts for what a dead one left
        whole = Cache.create(path, manifest) if self.index == 0 else None
        try:
            _join(whole, path)
            group.barrier()
            yield path / PARTS / str(self.index), Cache.open(path)
            group.barrier()
            _join(whole, path)
            group.barrier()
        finally:
            if whole is not None:
                whole.close()
            group.destroy_process_group()


def _join(whole: Cache | None, path: Path) -> None:
    """Move into the whole cache what there is of parts, also those of an earlier run, of however many processes."""
    parts = sorted(each for each in (path / PARTS).glob("*") if (each / "manifest.json").exists())
    if whole is not None and parts:
        absorb(whole, parts)
        whole.flush()
        remove_parts(path)


def shard_of(shard: str) -> Shard:
    """What `--shard i/n` or, without it, torchrun says.

    Raises:
        UserError: if the shard is none.
    """
    if shard:
        said = re.fullmatch(r"(\d+)/(\d+)", shard)
        index, count = (int(number) for number in said.groups()) if said else (0, 0)
        if not 1 <= index <= count:
            raise UserError(f"shard: expected i/n with 1 <= i <= n, such as 1/3, got {shard!r}")
        return Shard(index - 1, count)
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        return Shard()
    return Shard(int(os.environ["RANK"]), count, together=True, local=int(os.environ.get("LOCAL_RANK", 0)))
