"""Nets of transformers and diffusers, from a folder or the hub: safetensors alone, and no code in a folder is run."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import nn

from rtpe.errors import UserError


def quiet(*libraries: ModuleType) -> None:
    """Let them show no warnings and no progress of their own."""
    for library in libraries:
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def read_net(kind: type, **source: Any) -> nn.Module:
    """A net in float32, by the `from_pretrained` of the library's own class for it.

    Raises:
        UserError: if weights are missing, which the library would leave random, and hardly say so.
        Exception: the library's own, if it cannot be read.
    """
    made, told = kind.from_pretrained(**source, use_safetensors=True, output_loading_info=True)
    if told["missing_keys"]:
        raise UserError(f"its weights lack {min(told['missing_keys'])}")
    return made.float()


def reason(error: Exception) -> str:
    """What is wrong, in a line: each library has its own exceptions, some of them pages long."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
