"""The teacher cache: pose maps in few bytes, with a stated error, checked, and made so that a killed run resumes."""

from rtpe.cache.build import BuildReport, fill_cache
from rtpe.cache.cache import Cache, CorruptEntry, VerifyReport
from rtpe.cache.codecs import CODECS, Bound, Codec
from rtpe.cache.entries import Entry
from rtpe.cache.folder import PARTS, NotWritten, remove_parts
from rtpe.cache.manifest import Manifest
from rtpe.cache.origins import refuse_ids, refuse_other_images
from rtpe.cache.stores import STORES
from rtpe.cache.transfer import TransferReport, absorb, convert, merge
from rtpe.cache.verify import verify

__all__ = [
    "CODECS",
    "PARTS",
    "STORES",
    "Bound",
    "BuildReport",
    "Cache",
    "Codec",
    "CorruptEntry",
    "Entry",
    "Manifest",
    "NotWritten",
    "TransferReport",
    "VerifyReport",
    "absorb",
    "convert",
    "fill_cache",
    "merge",
    "refuse_ids",
    "refuse_other_images",
    "remove_parts",
    "verify",
]
