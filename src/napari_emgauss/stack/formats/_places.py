"""Folders that tensorstore reads, on disk or on a server: their files, their arrays, and their errors in plain words.

A server that fails is asked again, a few times and ever more slowly; then one sentence says so.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackFileError
from napari_emgauss.stack._address import Address

RETRIES: dict[str, Any] = {"max_retries": 5, "initial_delay": "250ms", "max_delay": "4s"}
_METADATA_SECONDS, _DATA_SECONDS = 60.0, 300.0
_LARGEST_METADATA = 64 << 20
# Blocks that were fetched are kept, or every look at a part of one would fetch it again.
_KEPT_BYTES = 256 << 20


@dataclass(frozen=True)
class Place:
    """A folder.

    Parameters
    ----------
    spec : mapping
        Of tensorstore's key-value store, without its path.
    path : str
        Of the folder, without slash at its end.
    shown : str
        For messages.
    """

    spec: Mapping[str, Any] = field(hash=False)
    path: str
    shown: str

    def within(self, name: str) -> Place:
        """A folder below this."""
        path = "/".join(part for part in (self.path, name.strip("/")) if part)
        return Place(self.spec, path, f"{self.shown.rstrip('/')}/{name.strip('/')}" if name.strip("/") else self.shown)

    @property
    def parent(self) -> Place | None:
        """The folder above; None at the top of a server or bucket."""
        above, slash, _ = self.path.rpartition("/")
        return Place(self.spec, above, self.shown.rstrip("/").rpartition("/")[0]) if slash and above else None

    def store(self) -> dict[str, Any]:
        """The specification that tensorstore opens."""
        lead = "/" if self.spec["driver"] == "http" else ""
        return {**self.spec, "path": f"{lead}{self.path}/"}

    def read(self, name: str) -> bytes | None:
        """A small file of the folder; None where there is none.

        Raises
        ------
        StackFileError
            The server does not answer, or refuses.
        """
        import tensorstore

        try:
            store = tensorstore.KvStore.open(self.store(), context=_context()).result(_METADATA_SECONDS)
            found = store.read(name, byte_range=slice(None)).result(_METADATA_SECONDS)
        except Exception as error:  # of many kinds
            raise StackFileError(f"{self.shown} cannot be read: {reason_of(error)}.") from error
        return bytes(found.value) if found.state == "value" and len(found.value) <= _LARGEST_METADATA else None

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A small file of JSON; None where there is none.

        Raises
        ------
        StackFileError
            As :meth:`read`, or it is damaged.
        """
        text = self.read(name)
        if text is None:
            return None
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise StackFileError(f"{self.shown} is damaged: {name} in it is not JSON.") from error
        return values if isinstance(values, dict) else None


class PlacedArray:
    """An array that tensorstore reads, its slowest axis first; only the blocks that are looked at are fetched.

    Raises
    ------
    StackFileError
        It cannot be opened.
    """

    def __init__(self, place: Place, driver: str, more: Mapping[str, Any], turned: bool) -> None:
        import tensorstore

        spec = {"driver": driver, "kvstore": place.store(), **more}
        keep = {"recheck_cached_data": False, "recheck_cached_metadata": False}
        try:
            opened = tensorstore.open({**spec, **keep}, context=_context(), read=True, open=True)
            found: Any = opened.result(_METADATA_SECONDS)
        except Exception as error:  # of many kinds
            raise StackFileError(f"{place.shown} cannot be read: {reason_of(error)}.") from error
        store = found[tensorstore.d[:].translate_to[0]]
        blocks = tuple(int(n) for n in store.chunk_layout.read_chunk.shape)
        self._store = store.T if turned else store
        self.shape = tuple(int(n) for n in self._store.shape)
        self.dtype = np.dtype(store.dtype.numpy_dtype)
        self.chunks = blocks[::-1] if turned else blocks

    def __getitem__(self, key: Any) -> NDArray[Any]:
        try:
            return np.asarray(self._store[key].read().result(_DATA_SECONDS))
        except Exception as error:  # of many kinds
            raise StackFileError(f"{reason_of(error)}.") from error


def place_of(where: Address | Path) -> Place:
    """The folder at an address or a path.

    Buckets are read with the credentials of the user's cloud tools where there are any, else as the public does.
    """
    if isinstance(where, Path):
        path = where.resolve().as_posix()
        return Place({"driver": "file"}, path, where.name)
    if where.scheme == "s3":
        return Place(_s3(where.host), where.path, str(where))
    if where.scheme == "gs" and _has_google_credentials():
        return Place({"driver": "gcs", "bucket": where.host}, where.path, str(where))
    host = f"https://storage.googleapis.com/{where.host}" if where.scheme == "gs" else f"{where.scheme}://{where.host}"
    base, _, bucket = host.partition("://")[2].partition("/")
    address = f"{host.partition('://')[0]}://{base}" + (f"?{where.query}" if where.query else "")
    path = "/".join(part for part in (bucket, where.path) if part)
    return Place({"driver": "http", "base_url": address}, path, str(where))


def _s3(bucket: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"driver": "s3", "bucket": bucket}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        spec["endpoint"] = endpoint
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        spec["aws_region"] = region
    elif endpoint:
        spec["aws_region"] = "us-east-1"  # servers of one's own do not mind
    shared = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials"
    has_keys = any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE")) or Path(shared).is_file()
    if not has_keys:
        spec["aws_credentials"] = {"type": "anonymous"}
    return spec


def _has_google_credentials() -> bool:
    default = Path.home() / ".config" / "gcloud" / "application_default_credentials.json"
    return bool(os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")) or default.is_file()


@cache
def _context() -> Any:
    import tensorstore

    kinds = ("http_request_retries", "s3_request_retries", "gcs_request_retries")
    return tensorstore.Context({**dict.fromkeys(kinds, RETRIES), "cache_pool": {"total_bytes_limit": _KEPT_BYTES}})


def reason_of(error: BaseException) -> str:
    """What went wrong, without the library's codes and specifications: half a sentence."""
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.split(r" \[(?:source|tensorstore|http|grpc)", text)[0]
    code, colon, rest = text.partition(": ")
    found = re.search(r"All (\d+) retry attempts failed: (.*)", text)
    if found is not None:
        return f"the server failed {found[1]} times in a row ({found[2].rstrip('.')})"
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
        return "the server refuses to show it: it is private or does not exist"
    if code == "NOT_FOUND":
        return "there is no such volume"
    return (rest if colon and code.isupper() else text).rstrip(".")
