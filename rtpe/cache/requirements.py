"""What a run needs of a cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rtpe.cache.manifest import Manifest
from rtpe.errors import UserError
from rtpe.skeleton import Skeleton


def require(
    path: Path,
    held: Manifest,
    *,
    skeleton: Skeleton | None = None,
    predictor: Mapping[str, Any] | None = None,
    size: int | list[int] | None = None,
    stride: float | None = None,
    tags: bool = False,
) -> None:
    """Refuse a cache that is not what this run needs; None asks nothing.

    Raises:
        UserError: in one sentence: what it holds, what is asked, what helps.
    """
    if skeleton is not None and skeleton != held.skeleton:
        want = skeleton.name if skeleton.name != held.skeleton.name else f"another {skeleton.name}"
        remedy = f"pass --data.skeleton {held.skeleton.name}, or build another with --cache.path"
        raise UserError(f"cache {path}: holds skeleton {held.skeleton.name}, this run asks for {want}: {remedy}")
    if predictor is not None and (lines := held.differences(replace(held, predictor=predictor))):
        who = _who_differs(held.predictor, predictor, lines)
        remedy = "build another with --cache.path, or pass the predictor it was made with"
        raise UserError(f"cache {path}: made by {who}: {remedy}")
    for name, want in (("size", size), ("stride", stride)):
        if want is not None and held.differences(replace(held, **{name: want})):
            have = getattr(held, name)
            raise UserError(
                f"cache {path}: holds maps of {name} {'unknown' if have is None else have}, "
                f"this run asks for {want}: build another with --cache.path"
            )
    if tags and not held.tags:
        raise UserError(f"cache {path}: holds no tag maps, this run asks for them: build another with --cache.path")


def _who_differs(held: Mapping[str, Any], asked: Mapping[str, Any], lines: list[str]) -> str:
    if held.get("weights_sha256") == asked.get("weights_sha256"):
        return f"{held.get('name')} with {'; '.join(lines)}"
    have, want = (f"{who.get('name')} (sha256 {str(who.get('weights_sha256'))[:8]}...)" for who in (held, asked))
    return f"{have}, not by {want}"
