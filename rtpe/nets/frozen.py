"""Nets of which a part stays as it is while the rest learns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rtpe.errors import UserError


class Freezable(nn.Module):
    """A net whose frozen modules, those of which no parameter requires a gradient, keep their norms' statistics too."""

    def train(self, mode: bool = True) -> Freezable:
        super().train(mode)
        for module in self.modules() if mode else ():
            if any(True for _ in module.parameters()) and not _learns(module):
                module.eval()
        return self

    def learn_only(self, parts: Sequence[str]) -> None:
        """Freeze all but the modules of these names; what is frozen already stays frozen.

        Raises:
            UserError: if there is no such module, or nothing in it may learn.
        """
        modules = dict(self.named_modules())
        for part in parts:
            if part not in modules or not _learns(modules[part]):
                able = [name for name, module in self.named_children() if _learns(module)]
                raise UserError(f"{part} cannot learn: choose from {', '.join(able)}")
        learning = {id(parameter) for part in parts for parameter in modules[part].parameters()}
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in learning)


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
