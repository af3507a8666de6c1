"""What helps against an error, in the words of each door: arguments, options, or fields of the window.

A message that is true everywhere names no option and no argument; it names a remedy of this table, and whoever shows
the message words it. A new remedy is one row here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Door(Enum):
    """How somebody came to the project."""

    LIBRARY = "library"
    COMMAND_LINE = "command line"
    WINDOW = "window"


# Each row: for callers of the library, on the command line, in the window; fields in braces come with the error.
_WORDS: dict[str, tuple[str, str, str]] = {
    "smooth look": (
        "export with look='smooth'",
        "export with --look smooth",
        "export with the smooth look",
    ),
    "exact look": (
        "pass look='exact' or look='textured' as well, or leave stack out",
        "add --look exact or --look textured, or leave --stack out",
        "choose the exact or the textured look",
    ),
    "textured look": (
        "pass look='textured' as well, or leave texture_seed out",
        "add --look textured, or leave --texture-seed out",
        "choose the textured look",
    ),
    "give stack": (
        "give it with stack=",
        "give it with --stack FILE",
        "open that stack as a layer",
    ),
    "undo intensity": (
        "also pass original_intensity=True, or export with look='smooth'",
        "add --original-intensity, or export with --look smooth",
        "also choose the original intensity, or export with the smooth look",
    ),
    "give voxel size": (
        "give the voxel size in nm as voxel_size_nm=(z, y, x)",
        "give the voxel size in nm with --voxel-size Z Y X",
        "type z, y and x in nm into the Voxel size fields",
    ),
    "accept isotropic": (
        "if the voxel size of the file is wrong, give the right one as voxel_size_nm=(z, y, x), "
        "or pass allow_isotropic=True",
        "if the voxel size of the file is wrong, give the right one with --voxel-size Z Y X",
        "if the voxel size is wrong, type the right one into the Voxel size fields",
    ),
    "leave out slices": (
        "leave it out with skip='{slices}'",
        "leave it out with --skip {slices}",
        "leave it out: untick it under Slices and damage",
    ),
    "leave out or replace slices": (
        "leave it out with skip='{slices}', or replace the values",
        "leave it out with --skip {slices}, or replace the values",
        "leave it out (untick it under Slices and damage), or replace the values",
    ),
    "choose dataset": (
        "choose one with dataset={example}",
        "choose one with --dataset {example}",
        "save the one you want as a separate file, or open it from Python with dataset={example}",
    ),
    "choose channel": (
        "choose one with channel=0 to channel={last}, or up to {most} together",
        "choose one with --channel 0 to --channel {last}, or up to {most} together, such as --channel 0,1",
        "save up to {most} of its channels as a separate file",
    ),
    "choose one channel": (
        "choose it with channel=",
        "choose it with --channel",
        "choose a layer with one channel",
    ),
    "choose time": (
        "choose one with time=0 to time={last}",
        "choose one with --time 0 to --time {last}",
        "save the one you want as a separate file",
    ),
    "give pattern": (
        "name the ones you want with a pattern, such as {patterns}",
        "name the ones you want with a pattern in quotes, such as {patterns}",
        "move the ones you want into a folder of their own (patterns: {patterns})",
    ),
    "overwrite": (
        "choose another name, or pass overwrite=True",
        "choose another name, or add --force to overwrite it",
        "choose another name",
    ),
    "straighten no tiles": (
        "move the slices into place first with remove_jitter, or fit without tiles",
        "move the slices into place first with --straighten, or fit without tiles",
        "fit without tiles",
    ),
    "no channels in tiles": (
        "choose one with channel=, or fit without tiles",
        "choose one with --channel, or fit without tiles",
        "choose a layer with one channel, or fit without tiles",
    ),
    "export one channel": (
        "choose one with channel=, or write {others}",
        "choose one with --channel, or write {others}",
        "choose one of them, or write {others}",
    ),
    "without SAM2": (
        "leave sam2_weights out to use the random forest",
        "leave --sam2-weights out to use the random forest",
        "use the random forest",
    ),
    "give result": (
        "give a file that write_json of a score or an evaluation wrote, in this version",
        "give a file written by 'emgauss score --json' or 'emgauss evaluate --json' of this version",
        "write it anew on the command line, with emgauss score or emgauss evaluate",
    ),
    "crop away": (
        "crop them away with crop=(z, y, x)",
        "crop them away with --crop",
        "choose a region without them",
    ),
    "fewer workers": (
        "try fewer, or workers=None",
        "try fewer, or leave --workers out",
        "try fewer",
    ),
    "less memory": (
        "fit it in tiles (fit_tiles), or fit only a part of it (Stack.crop)",
        "fit it in tiles, for example with --memory {gigabytes}GB, or fit only a part with --region",
        "choose a smaller region",
    ),
    "less of the card": (
        "fit it in tiles, for example TileSize(pixels={pixels})",
        "fit it in tiles, for example with --tile {pixels}",
        "choose a smaller region",
    ),
    "fit on the CPU": (
        "free some, or fit on the CPU (device='cpu')",
        "free some, or fit on the CPU (--device cpu)",
        "free some, or choose the CPU under Device",
    ),
}


@dataclass(frozen=True)
class Remedy:
    """What helps, with the numbers and names that its words need.

    Parameters
    ----------
    name : str
        Of a row of the table.
    fields : dict
        What the words have in braces.
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)

    def worded(self, door: Door) -> str:
        """The half-sentence for a door."""
        library, command_line, window = _WORDS[self.name]
        words = {Door.LIBRARY: library, Door.COMMAND_LINE: command_line, Door.WINDOW: window}[door]
        return words.format(**self.fields)


def remedy(name: str, **fields: Any) -> Remedy:
    """A remedy of the table; an unknown name is a mistake of ours, found at once and not when it is shown."""
    if name not in _WORDS:
        raise KeyError(name)
    return Remedy(name, fields)


def remedy_names() -> tuple[str, ...]:
    """All rows of the table."""
    return tuple(_WORDS)
