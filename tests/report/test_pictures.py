"""Contact sheets: under a title stands what has that title, and what somebody found."""

import numpy as np
import pytest
from miniature import FACE, samples, teach

from rtpe.report.pictures import contact_sheet, found_people
from rtpe.structures import Poses, Prediction

GAP, CAPTION, SIDE = 6, 30, 288  # of sheets with up to four columns
RED, GREEN, BLUE = (np.full((32, 32, 3), colour, np.uint8) for colour in ([200, 0, 0], [0, 200, 0], [0, 0, 200]))


@pytest.mark.parametrize(
    "rows, expected",
    [
        ([], []),
        ([{"image": RED}], [[RED]]),
        ([{"b": GREEN, "image": RED}], [[RED, GREEN]]),
        ([{"image": RED, "b": None}, {"image": BLUE}], [[RED], [BLUE]]),
        ([{"image": RED, "unasked": BLUE}], [[RED]]),
        ([{"image": RED}, {"image": BLUE, "b": GREEN}], [[RED, np.full_like(RED, 255)], [BLUE, GREEN]]),
    ],
    ids=["nobody", "alone", "order of titles", "nothing seen", "not asked for", "a hole is white"],
)
def test_a_drawing_stands_under_its_title(rows, expected):
    sheet = contact_sheet(rows, ("image", "a", "b"))
    assert sheet.shape[1] == GAP + max(map(len, expected), default=0) * (SIDE + GAP)
    for line, drawings in enumerate(expected):
        for column, drawing in enumerate(drawings):
            y = 2 * GAP + CAPTION + line * (SIDE + GAP) + SIDE // 2
            x = GAP + column * (SIDE + GAP) + SIDE // 2
            assert (sheet[y, x] == drawing[0, 0]).all()


class Photographs(list):
    """A data set of these samples."""

    at = list.__getitem__


def test_people_are_those_of_the_predictor_that_is_asked():
    photographs = Photographs(samples(2))
    drawn = found_people(photographs, lambda images: [teach(image) for image in images])
    for photograph, picture in zip(photographs, drawn):
        assert (picture == teach(photograph.image).poses.draw(photograph.image)).all()
        assert (picture != photograph.image).any()


def test_where_nobody_is_found_the_image_is_bare():
    assert found_people(Photographs(), lambda images: []) == []
    (photograph,) = samples(1)
    nobody = Prediction(teach(photograph.image).maps, Poses.none(FACE))
    (picture,) = found_people(Photographs([photograph]), lambda images: [nobody])
    assert (picture == photograph.image).all()
