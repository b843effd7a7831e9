"""What a person's score hopes for is the similarity that comes out when joints err so."""

import numpy as np
import pytest
from reference.oks import similarity

from rtpe.decode.scoring import AREA_OF_VARIANCE, expected_similarity
from rtpe.skeleton import COCO17, LSP14

ERROR = 0.7


def a_person(rng, height, skeleton=COCO17):
    return rng.uniform(0, height, (1, len(skeleton), 2))


def area_of(cells):
    return AREA_OF_VARIANCE * cells[0].var(axis=0).sum()


def test_nobody_has_no_score():
    assert expected_similarity(np.zeros((0, 17, 2)), np.zeros((0, 17)), COCO17, ERROR).shape == (0,)


@pytest.mark.parametrize("skeleton", [COCO17, LSP14], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("height", [8, 30, 120])
def test_it_is_the_mean_similarity_of_joints_that_err(height, skeleton):
    """4,000 draws: their mean strays by at most .5 / 4000^.5 = .008, a third of it for the mean over 14 joints."""
    rng = np.random.default_rng(height)
    cells = a_person(rng, height, skeleton)
    errors = rng.normal(0, ERROR, (4000, *cells.shape[1:]))
    labelled = np.concatenate([cells[0], np.full((len(skeleton), 1), 2)], axis=1)
    seen = [similarity(cells[0] + error, labelled, area_of(cells), skeleton.sigmas) for error in errors]
    (hoped,) = expected_similarity(cells, np.ones(cells.shape[:2]), skeleton, ERROR)
    assert hoped == pytest.approx(np.mean(seen), abs=0.008)


def test_who_is_larger_hotter_or_more_complete_is_surer():
    rng = np.random.default_rng(1)
    cells, heat = a_person(rng, 30), rng.uniform(0.3, 0.9, (1, 17))
    part = heat * (np.arange(17) < 9)
    scores = [
        expected_similarity(*each, COCO17, ERROR)[0]
        for each in ((cells / 3, part), (cells, part), (cells, heat), (cells * 3, heat), (cells * 3, heat / heat.max()))
    ]
    assert scores == sorted(set(scores)) and scores[-1] < heat.mean() / heat.max()


def test_neither_the_place_nor_the_unit_counts():
    rng = np.random.default_rng(2)
    cells, heat = a_person(rng, 30), rng.uniform(0.3, 0.9, (1, 17))
    expected = expected_similarity(cells, heat, COCO17, ERROR)
    assert expected_similarity(cells + 500, heat, COCO17, ERROR) == pytest.approx(expected)
    assert expected_similarity(cells * 7, heat, COCO17, ERROR * 7) == pytest.approx(expected)


def test_joints_that_are_missing_say_nothing_of_the_size():
    rng = np.random.default_rng(3)
    cells, heat = a_person(rng, 30), rng.uniform(0.3, 0.9, (1, 17))
    heat[0, 5:] = 0
    elsewhere = cells.copy()
    elsewhere[0, 5:] = 1e6
    assert expected_similarity(elsewhere, heat, COCO17, ERROR) == expected_similarity(cells, heat, COCO17, ERROR)


def test_of_single_joints_the_hotter_one_is_surer():
    """One joint has no size; nobody is smaller than a cell."""
    heat = np.zeros((2, 17))
    heat[:, 3] = 0.4, 0.8
    low, high = expected_similarity(np.zeros((2, 17, 2)), heat, COCO17, ERROR)
    assert 0 < low == high / 2
