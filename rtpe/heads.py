"""The maps that a pose net may give: one row each, from which shapes, mirroring, resizing and reading follow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """A kind of map.

    Attributes:
        of: what its channels belong to: `joints` (one each), `vectors` (x and y of each joint in turn, lengths in
            cells), `limbs` (x and y of each limb in turn) or `image` (one channel).
        averaged: whether the maps of a mirrored run are averaged in; else they stay beside.
        decoded: whether people are read from it; else it only helps to learn.
    """

    of: str
    averaged: bool = True
    decoded: bool = True

    def channels(self, joints: int, limbs: int = 0) -> int:
        """How many there are, for a skeleton of so many joints and limbs."""
        return {"joints": joints, "vectors": 2 * joints, "limbs": 2 * limbs, "image": 1}[self.of]


HEADS = {
    "heatmaps": Head("joints"),  # one peak of height about 1 per visible joint
    "tags": Head("joints", averaged=False),  # associative embeddings (Newell et al., arXiv:1611.05424)
    "centers": Head("image"),  # one peak per person, at the mean of the visible joints
    "offsets": Head("vectors"),  # from the center of a cell to the joints of the person whose center is there
    "shifts": Head("vectors"),  # from the center of a cell to the joint whose peak is there
    "pafs": Head("limbs"),  # part-affinity fields
    "attention": Head("image", decoded=False),  # logits of "a person is here"
}
OF_NETS = tuple(name for name in HEADS if name not in ("heatmaps", "pafs", "attention"))  # what a student may have
