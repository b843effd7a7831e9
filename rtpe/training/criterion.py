"""What a net is asked for: the loss terms that have a weight, and their sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from rtpe.data.loader import Batch
from rtpe.errors import UserError
from rtpe.nets.blocks import Outputs
from rtpe.settings.limits import WEIGHT
from rtpe.training import compute
from rtpe.training.compute import Context, Stem
from rtpe.training.optim import at_progress
from rtpe.training.terms import TERMS


@dataclass(frozen=True)
class Criterion:
    """Named loss terms, and the sum that training minimises.

    Attributes:
        weights: of TERMS: a number, or knots [progress, weight] with lines between them; a term whose weight is the
            number 0, or that has none, is not computed.
        sigmas, foreground, confidence, stem: see `Context`.
        progress: of the training, 0 to 1, at which the terms are weighed.

    Raises:
        UserError: if a weight is neither a number of 0 or more nor knots of rising progress.
    """

    weights: Mapping[str, float | Sequence[Sequence[float]]]
    sigmas: Sequence[float] = (2.0,)
    foreground: float = 0.0
    confidence: float = 0.0
    stem: Stem | None = None
    progress: float = 0.0

    def __post_init__(self):
        for name, weight in self.weights.items():
            if not WEIGHT.holds(weight):
                raise UserError(WEIGHT.refusal(f"loss.{name}", weight))

    def at(self, progress: float) -> Criterion:
        """The same, as it weighs the terms at that progress."""
        return replace(self, progress=progress)

    def __call__(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The unweighted terms by name, each a scalar."""
        context = Context(batch, self.sigmas, self.foreground, self.confidence, self.stem)
        wanted = {
            name: term
            for name, term in TERMS.items()
            if self.weights.get(name) and outputs.maps.keys() >= set(term.heads)
        }
        computed = {name: getattr(compute, name)(outputs, context) for name in wanted}
        terms = {name: value for name, value in computed.items() if value is not None}
        idle = outputs.maps.keys() - {head for name in terms for head in TERMS[name].heads}
        for head in sorted(idle) if terms else ():
            # DDP waits for a gradient of every parameter: 0 of maps that no term asks for
            first = next(iter(terms))
            terms[first] = terms[first] + sum(maps.float().sum() * 0.0 for maps in outputs.maps[head])
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        return sum(at_progress(self.weights.get(name, 0.0), self.progress) * value for name, value in terms.items())
