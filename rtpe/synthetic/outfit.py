"""What a person wears, and of what colours skin and hair are."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from .chance import pick
from .paint import COLOUR, Cover, Paint

SKINS = (
    np.array(
        [(255, 219, 196), (241, 194, 160), (224, 172, 125), (198, 134, 90), (141, 85, 50), (96, 60, 40), (70, 45, 33)]
    )
    / 255
)
HAIRS = (
    np.array(
        [
            (25, 20, 18),
            (50, 34, 25),
            (92, 60, 35),
            (140, 100, 55),
            (205, 170, 110),
            (165, 80, 40),
            (150, 150, 150),
            (225, 220, 215),
        ]
    )
    / 255
)
HAIR_STYLES = {"short": 0.5, "long": 0.22, "bun": 0.08, "cap": 0.12, "bald": 0.08}
PATTERNS = {"plain": 0.6, "stripes": 0.1, "bands": 0.12, "checks": 0.1, "blots": 0.08}


@dataclass(frozen=True)
class Outfit:
    """Paints of all surfaces, and how far the clothes reach.

    Attributes:
        sleeve, trouser: 0 nowhere, 1 to the elbow or knee, 2 to the wrist or ankle.
        skirt: from the hips (0) to the knees (1), or None.
    """

    skin: Paint
    hair: Paint
    hat: Paint
    eye_white: Paint
    iris: Paint
    lips: Paint
    shirt: Paint
    legwear: Paint
    shoes: Paint
    hair_style: str
    sleeve: float
    trouser: float
    skirt: float | None

    def covered(self, cloth: Paint, until: float) -> Cover:
        """Cloth up to t = until, skin beyond."""
        if until <= 0:
            return ((1, self.skin),)
        return ((1, cloth),) if until >= 1 else ((until, cloth), (1, self.skin))


def random_colour(rng: np.random.Generator) -> COLOUR:
    """Any colour, with more greys and muted tones than a colour wheel has."""
    return colorsys.hsv_to_rgb(rng.random(), rng.beta(1.2, 1.6), rng.uniform(0.12, 0.98))


def random_cloth(rng: np.random.Generator) -> Paint:
    """A plain or patterned fabric."""
    kind = pick(rng, PATTERNS)
    return Paint(
        random_colour(rng),
        random_colour(rng),
        kind,
        period=rng.uniform(0.04, 0.16),
        rough=rng.uniform(0.06, 0.22),
        grain=rng.uniform(150, 500),
        offset=rng.uniform(0, 500),
    )


def random_outfit(rng: np.random.Generator) -> Outfit:
    """Skin, hair and clothes of one person; one in eight wears one fabric from neck to leg."""
    tone = rng.uniform(0, len(SKINS) - 1)
    skin = np.array([np.interp(tone, range(len(SKINS)), SKINS[:, c]) for c in range(3)]) * rng.uniform(0.92, 1.06)
    hair = HAIRS[rng.integers(len(HAIRS))] * rng.uniform(0.8, 1.1) if rng.random() < 0.93 else random_colour(rng)
    shirt = random_cloth(rng)
    legwear = shirt if rng.random() < 0.12 else random_cloth(rng)
    skirted = rng.random() < 0.12
    return Outfit(
        skin=Paint(tuple(skin), rough=0.05),
        hair=Paint(tuple(hair), rough=0.35, grain=900.0),
        hat=Paint(random_colour(rng)),
        eye_white=Paint((0.93, 0.92, 0.9), rough=0),
        iris=Paint((0.1, 0.07, 0.06), rough=0),
        lips=Paint(tuple(skin * (0.78, 0.5, 0.5)), rough=0),
        shirt=shirt,
        legwear=legwear,
        shoes=Paint(random_colour(rng), rough=0.1),
        hair_style=pick(rng, HAIR_STYLES),
        sleeve=pick(rng, {0.0: 0.12, rng.uniform(0.35, 0.8): 0.38, rng.uniform(0.9, 1.4): 0.1, 2.0: 0.4}),
        trouser=0.3 if skirted else pick(rng, {rng.uniform(0.35, 0.9): 0.28, rng.uniform(1.1, 1.6): 0.1, 2.0: 0.62}),
        skirt=rng.uniform(0.5, 1.1) if skirted else None,
    )
