"""The embedded world: procedurally drawn people, seeded, as an ordinary COCO keypoint data set.

`body`, `pose` and `outfit` make a person, `paint`, `solids` and `canvas` draw it with depth, `stage` holds what is
not a person, `scene` puts them together and annotates what is seen, `write` makes the data set; `chance` picks.

>>> import numpy as np
>>> draw_scene(np.random.default_rng(0), (120, 160)).image.shape
(120, 160, 3)
"""

from .scene import Person, Scene, draw_scene
from .solids import Camera
from .write import write_world

__all__ = ["Camera", "Person", "Scene", "draw_scene", "write_world"]
