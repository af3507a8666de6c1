"""The chain of a TIFF file's pages: each says where the next one is, and a damaged one may point back."""

from __future__ import annotations

import struct
from pathlib import Path

from napari_emgauss._errors import StackFileError


def check_chain(path: Path) -> None:
    """Refuse a file whose pages lead back to an earlier page: they would be read for ever.

    Raises
    ------
    StackFileError
        The pages go round in a circle.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return  # not for us to say
        big = struct.unpack(order + "H", head[2:4])[0] == 43
        if big and len(head) < 16:
            return
        count_form, entry, offset_form = ("Q", 20, "Q") if big else ("H", 12, "I")
        offset = struct.unpack_from(order + offset_form, head, 8 if big else 4)[0]
        seen: set[int] = set()
        while 0 < offset < size:
            if offset in seen:
                raise StackFileError(f"{path.name} is damaged: page {len(seen)} leads back to an earlier one.")
            seen.add(offset)
            file.seek(offset)
            head = file.read(struct.calcsize(order + count_form))
            if len(head) < struct.calcsize(order + count_form):
                return
            file.seek(struct.unpack(order + count_form, head)[0] * entry, 1)
            tail = file.read(struct.calcsize(order + offset_form))
            if len(tail) < struct.calcsize(order + offset_form):
                return
            offset = struct.unpack(order + offset_form, tail)[0]
