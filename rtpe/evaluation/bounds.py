"""Rows that no decoder could exceed, beside those of a predictor; they know the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rtpe.data.labels import Person
from rtpe.decode.settings import DecodeSettings
from rtpe.evaluation.oks import object_keypoint_similarity
from rtpe.evaluation.oracle import nearest_peaks, through_grid
from rtpe.structures import PoseMaps, Poses

REACH = 1 / 2  # of the larger side of a person's box: further away OKS and PCK count a joint as missed


def oracle_people(maps: PoseMaps, people: Sequence[Person], decode: DecodeSettings) -> dict[str, Poses]:
    """The bounds of an image, by name: `peaks`, `cells` and that of the refinement, `dark` (see `oracle`).

    People are ranked by how like the truth they are, as nobody could rank them better.
    """
    labelled = [person for person in people if person.labelled]
    truth = np.array([person.points for person in labelled], np.float64).reshape(-1, len(maps.skeleton), 3)
    reach = np.array([REACH * max(person.box_xywh[2:]) for person in labelled])
    least = min(decode.threshold, decode.threshold if decode.fill_threshold is None else decode.fill_threshold)
    found = {
        "peaks": nearest_peaks(maps, truth, reach, least, decode.refine),
        "cells": through_grid(maps, truth, "argmax"),
        decode.refine: through_grid(maps, truth, decode.refine),
    }
    areas = np.array([person.area for person in labelled])
    return {name: _ranked(poses, truth, areas) for name, poses in found.items()}


def _ranked(poses: Poses, truth: np.ndarray, areas: np.ndarray) -> Poses:
    points = np.where(poses.scores[..., None] > 0, poses.points, np.nan)
    alike = object_keypoint_similarity(points, truth, areas, poses.skeleton.sigmas)
    return replace(poses, person_scores=alike.diagonal())
