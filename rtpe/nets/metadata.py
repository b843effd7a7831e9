"""What weights say of themselves: net, skeleton, input size, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from torch import nn

from rtpe.errors import UserError
from rtpe.nets.weights import save_weights
from rtpe.skeleton import Skeleton


def save_net(
    path: Path,
    trained: nn.Module,
    kind: str,
    joints: Skeleton,
    size: int,
    made: dict,
    half: bool = False,
    min_score: float | None = None,
) -> None:
    """Write weights that say themselves what they are: net, skeleton, input size, and how they were made.

    Args:
        min_score: people of a lower score are doubtful; None if nobody has measured it.
    """
    metadata = {
        "kind": kind,
        "numbers": json.dumps(trained.numbers),
        "skeleton": joints.name,
        "joints": json.dumps(joints.joints),
        "size": str(size),
        "fit": "letterbox",
        "made": json.dumps(made),
    }
    if min_score is not None:
        metadata["min_score"] = json.dumps(min_score)
    save_weights(path, trained, metadata, half)


def metadata_value(weights: str, said: Mapping[str, str], key: str, usual: Any) -> Any:
    """A value that the metadata of weights have as JSON, of the type of the usual one.

    Raises:
        UserError: if it is none.
    """
    try:
        value = json.loads(said[key]) if key in said else usual
    except (ValueError, RecursionError) as error:
        raise UserError(f"weights {weights}: its metadata {key!r} are no JSON: save it anew") from error
    if type(value) is not type(usual):
        raise UserError(f"weights {weights}: its metadata {key!r} should be like {json.dumps(usual)}: save it anew")
    return value


def numbers_in(weights: str, said: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a net that its weights' metadata have.

    Args:
        given: by the user; a backbone that is on no local disk is taken from there alone: no file opens a connection.

    Raises:
        UserError: if they are none, or name such a backbone.
    """
    numbers = metadata_value(weights, said, "numbers", {})
    backbone = numbers.get("backbone", "")
    if (
        "backbone" in numbers
        and "backbone" not in given
        and not (isinstance(backbone, str) and Path(backbone).is_dir())
    ):
        raise UserError(
            f"weights {weights}: stand on the backbone {shorten(str(backbone), 80)}, which is no folder here: name it "
            "yourself by numbers {backbone: FOLDER}, or OWNER/NAME to fetch it"
        )
    return numbers


def min_score_of(weights: str, said: Mapping[str, str]) -> float | None:
    """The score below which people are doubtful, of weights whose metadata have one."""
    return metadata_value(weights, said, "min_score", 0.0) if "min_score" in said else None
