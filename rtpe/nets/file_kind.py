"""What a file is by its first bytes, for those that are not what their names say: failed downloads, other formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

HEAD = 1024  # bytes
TORCH, SAFETENSORS, ONNX, XML = ".pth", ".safetensors", ".onnx", ".xml"
_TORCH_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # files of torch before 1.6 begin with it


def _starts(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(beginnings)


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def _is_onnx(head: bytes) -> bool:
    """A protobuf message that begins with a version (field 1) and a producer (field 2) or a graph (field 7)."""
    return re.match(rb"\x08[\x01-\x20](\x12[\x00-\x40][\x20-\x7e]*|\x3a)", head) is not None


def _begins(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(beginnings)


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5"


def _is_text(head: bytes) -> bool:
    return head.isascii() and re.sub(rb"[\t\r\n]", b"", head).decode().isprintable()


_Kind = tuple[Callable[[bytes], bool], str, str, str]
_FAILED_DOWNLOADS: list[_Kind] = [
    (_starts(b"<!doctype html", b"<html"), "an HTML page", "", "download the file itself"),
    (_starts(b"version https://git-lfs"), "a Git LFS pointer", "", "fetch the file itself with `git lfs pull`"),
]
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"(\xb5/\xfd", b"Rar!")
# the first that holds: what it is, the suffix of files that should be so, and how it is put right
_KINDS: list[_Kind] = [
    (lambda head: not head, "an empty file", "", "fetch it again"),
    *_FAILED_DOWNLOADS,
    (_is_safetensors, "a safetensors file", SAFETENSORS, f"give it a name that ends in {SAFETENSORS}"),
    (_starts(b"<?xml", b"<net", b"<!--"), "an XML file", XML, f"give it a name that ends in {XML} if it is OpenVINO's"),
    (_is_onnx, "an ONNX network", ONNX, f"give it a name that ends in {ONNX}"),
    (_begins(b"PK\3\4", _TORCH_PICKLE), "a torch file", TORCH, f"give it a name that ends in {TORCH}"),
    (_begins(b"\x89HDF"), "an HDF5 file", "", "convert it to safetensors"),
    (_begins(*_ARCHIVES), "an archive", "", "unpack it"),
    (lambda head: head[257:262] == b"ustar", "a tar archive", "", "unpack it"),
    (_is_pickle, "a pickle that torch.save did not write", "", "save named tensors by torch.save"),
    (_is_text, "a text", "", "fetch the file itself"),
]


def mistaken(path: str | Path, suffix: str) -> str:
    """What a file is, and how it is put right, if it is none of those that this suffix stands for; else nothing."""
    return _what(path, suffix, _KINDS)


def failed_download(path: str | Path) -> str:
    """What a file of any bytes is, and how it is put right, if it only stands for the one that is wanted."""
    return _what(path, "", _FAILED_DOWNLOADS)


def _what(path: str | Path, suffix: str, kinds: list[_Kind]) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:  # reading it has the better message
        return ""
    for holds, what, own, remedy in kinds:
        if holds(head):
            return "" if own and own == suffix else f"is {what}: {remedy}"
    return ""
