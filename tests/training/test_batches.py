"""Processes that read for all epochs give the batches that one process reads, whatever came before."""

import os
from dataclasses import fields

import pytest
import torch

from rtpe.data.loader import Batches, batches


def same(one, other):
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("workers", [1, 2])
def test_epochs_are_those_of_one_process(examples, workers):
    """In any order, from the middle on, again, and after one that was broken off."""
    views = examples()
    read = Batches(views, 1, workers)
    next(iter(read.epoch(0)))  # broken off, with further batches on their way
    for epoch, start in [(0, 0), (1, 2), (5, 3), (1, 0), (1, 4), (2, 0)]:
        got, want = list(read.epoch(epoch, start)), list(batches(views, 1, epoch, start))
        assert len(got) == len(want) == 4 - start and all(map(same, got, want)), (epoch, start)


def test_the_same_processes_read_all_epochs(examples, tmp_path):
    """Each is forked once: what it needs of this process it copies once."""
    views = examples()

    class Told:
        seed, unreadable = views.seed, {}

        def __len__(self):
            return len(views)

        def __getitem__(self, key):
            (tmp_path / str(os.getpid())).touch()
            return views[key]

    read = Batches(Told(), 1, workers=2)
    for epoch in range(3):
        assert len(list(read.epoch(epoch))) == 4
    assert len(list(tmp_path.glob("[0-9]*"))) == 2 and str(os.getpid()) not in os.listdir(tmp_path)
