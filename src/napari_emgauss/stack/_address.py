"""Addresses of volumes on servers, beside the paths of files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

# pathlib makes one slash of two, so one is enough; connectomics people write the format in front.
_ADDRESS = re.compile(r"(?:(precomputed|zarr[23]?|n5):/{1,2})?(https?|s3|gs):/{1,2}([^/].*)", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """Where a volume lies on a server.

    Parameters
    ----------
    scheme : str
        ``http``, ``https``, ``s3`` or ``gs``.
    host : str
        Host and port; of ``s3`` and ``gs`` the bucket.
    path : str
        Within it, without slashes at its ends.
    query : str
        What follows a question mark: keys of signed addresses.
    format : str
        Name of the format where the address says it, else empty.
    """

    scheme: str
    host: str
    path: str
    query: str = ""
    format: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}/{self.path}"

    @property
    def name(self) -> str:
        """The last part of the path, for titles and messages."""
        return self.path.rsplit("/", 1)[-1] or self.host


def address_of(path: str | PurePath) -> Address | None:
    """The address that a text, or a path made of it, is; None for a path of the disk."""
    found = _ADDRESS.fullmatch(path if isinstance(path, str) else path.as_posix())
    if found is None:
        return None
    said, scheme, rest = found.groups()
    where, _, query = rest.partition("?")
    host, _, within = where.partition("/")
    known = (said or "").lower().rstrip("23")
    return Address(scheme.lower(), host, within.strip("/"), query, known)


def is_address(path: str | Path) -> bool:
    """Whether a text is the address of a volume on a server."""
    return address_of(path) is not None
