"""The checksum of a network in files: all that its weights lie in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rtpe.errors import UserError
from rtpe.nets.file_kind import failed_download, mistaken
from rtpe.nets.weights import sha256
from rtpe.predictors.adapters.runtime import SUFFIXES, runtime, weights_beside


def checksum_of(path: Path) -> str:
    """The checksum of the weights: of an .xml and the file beside it, of an .onnx and the files that it names.

    Raises:
        UserError: if it is neither kind of file, or one of them is missing, lies elsewhere or cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"weights {path}: expected a file {' or '.join(SUFFIXES)}, got {path.suffix or 'no suffix'}")
    if what := mistaken(path, suffix):
        raise UserError(f"weights {path}: {what}")
    return of_files([path, *(_external_files(path) if suffix == ".onnx" else [weights_beside(path)])])


def of_files(paths: Sequence[Path]) -> str:
    """The checksum of a file; of several files that of their checksums.

    Raises:
        UserError: if one is missing, or only stands for the one that is wanted.
    """
    for path in paths:
        if what := failed_download(path):
            raise UserError(f"weights {path}: {what}")
    each = [sha256(path) for path in paths]
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


def _external_files(path: Path) -> list[Path]:
    """The files that hold weights of a network in an .onnx file, below its folder.

    Raises:
        UserError: if it cannot be read, or names a file that lies elsewhere or is missing.
    """
    sha256(path)  # its message names the file, if that is missing
    onnx = runtime("onnx", path)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # of protobuf
        raise UserError(f"weights {path}: cannot be read ({' '.join(str(error).split())})") from error
    names = {each.value for tensor in _tensors(model) for each in tensor.external_data if each.key == "location"}
    for name in sorted(names):
        place = PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise UserError(
                f"weights {path}: names weights in {name!r}, outside its folder: save it with them beside it"
            )
        if not (path.parent / name).is_file():
            raise UserError(f"weights {path}: names weights in {name!r}, which is missing: put that file beside it")
    return [path.parent / name for name in sorted(names)]


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors of a model that may lie in other files."""
    yield from _of_graph(model.graph)
    yield from _of_nodes(node for function in model.functions for node in function.node)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (
                attribute.t,
                *attribute.tensors,
                attribute.sparse_tensor.values,
                attribute.sparse_tensor.indices,
            )
            for graph in (attribute.g, *attribute.graphs):
                yield from _of_graph(graph)
