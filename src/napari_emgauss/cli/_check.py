"""``emgauss check``: what is wrong with a stack, before it is fitted. It suggests; nothing is left out by itself."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._files import write_text
from napari_emgauss._remedies import Door
from napari_emgauss.cli._inputs import say, stack_of_unknown_size
from napari_emgauss.cli._outputs import figure_path, output_path

if TYPE_CHECKING:
    from napari_emgauss.stack import Stack


def run_check_command(arguments: argparse.Namespace) -> int:
    """Look at every slice, and at how they lie on each other."""
    from napari_emgauss.stack import check_alignment, estimate_thickness, find_damage, suggested_skip

    if arguments.write_z is not None and not arguments.thickness:
        raise ConfigError("--write-z writes the depths that --thickness estimates: give both.")
    depths_file = None if arguments.write_z is None else output_path(arguments, "write_z")
    figure = None if arguments.figure is None else figure_path(arguments)
    stack, unknown = stack_of_unknown_size(arguments, arguments.stack, allow_isotropic=True, allow_damaged=True)
    if unknown is not None and arguments.thickness:
        raise unknown
    reports = find_damage(stack)
    # People know slices by their number in the file, and --skip counts them so.
    numbers = stack.numbers_in_file
    left_out = list(stack.record.left_out_slices)
    bad = suggested_skip(reports)
    skip = sorted([*left_out, *(numbers[k] for k in bad)])
    sound = [report.index for report in reports if report.index not in set(bad)]
    # Black and torn slices would be found askew as well, and tell nothing of the others.
    alignment = check_alignment(stack.select(sound)) if len(sound) > 2 else None
    askew = [] if alignment is None else [numbers[sound[int(k)]] for k in alignment.misplaced()]
    thickness = estimate_thickness(stack.select(sound)) if arguments.thickness and len(sound) > 2 else None

    depths_nm = None if thickness is None else _depths_in_file(stack, sound, thickness.z_nm)
    if depths_file is not None and depths_nm is not None:
        write_text(depths_file, "".join(f"{z:.2f}\n" for z in depths_nm))
        say(f"Wrote '{depths_file}'.")
    if figure is not None:
        from napari_emgauss.evaluation import write_check_figure

        write_check_figure(figure, reports, numbers, alignment, thickness, [numbers[k] for k in sound])
        say(f"Wrote '{figure}'.")

    if arguments.json:
        found = {
            "slices": [
                {
                    "index": numbers[one.index],
                    "z_nm": None if unknown is not None else one.z_nm,
                    "state": one.state,
                    "reasons": list(one.reasons),
                }
                for one in reports
                if one.state != "good"
            ],
            "suggested_skip": skip,
            "median_jitter_px": None if alignment is None else _number(alignment.median_jitter_px),
            "askew": askew,
            "z_positions_nm": None if depths_nm is None else [float(z) for z in depths_nm],
            "notes": list(stack.metadata.get("notes", ())),
        }
        print(json.dumps(found, indent=1))
        return 0

    doubtful = [report for report in reports if report.state != "good"]
    for report in doubtful:
        where = "" if unknown is not None else f" (z = {report.z_nm:g} nm)"
        print(f"slice {numbers[report.index]}{where}: {report.state}: {'; '.join(report.reasons)}")
    good = len(reports) - len(doubtful)
    print(f"{good} of {len(reports)} slices look good.")
    if left_out:
        print(f"Already left out: {','.join(map(str, left_out))}.")
    if bad:
        print(f"Suggestion: --skip {','.join(map(str, skip))}")
    if askew and alignment is not None:
        worst = float(np.nanmax(alignment.jitter_length_px))
        print(
            f"Slices {', '.join(map(str, askew))} are misaligned, by up to {worst:.1f} pixels. Suggestion: --straighten"
        )
    elif alignment is not None:
        print(f"The slices are well aligned: their median jitter is {alignment.median_jitter_px:.2f} pixels.")
    if thickness is not None:
        trust = "" if thickness.reliable else " (not reliable on this stack)"
        vary = "cannot be measured" if np.isnan(thickness.spread) else f"vary by {thickness.spread:.0%}"
        print(f"Distances between slices {vary}{trust}; depths in nm, for --z-positions:")
        print(" ".join(f"{z:.1f}" for z in _depths_in_file(stack, sound, thickness.z_nm)))
    if unknown is not None:
        print(unknown.worded(Door.COMMAND_LINE))
    return 0


def _depths_in_file(stack: Stack, sound: list[int], estimated_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """A depth for every slice of the file, as --z-positions wants it: those not measured keep their place between."""
    nominal = {number: float(z) for number, z in zip(stack.numbers_in_file, stack.z_nm, strict=True)}
    nominal.update(stack.record.left_out)
    all_nm = np.array([nominal[number] for number in sorted(nominal)])
    known_nm = stack.z_nm[sound]
    depths = np.interp(all_nm, known_nm, estimated_nm)
    # Beyond the first and the last slice measured, distances stay as they were.
    before, after = all_nm < known_nm[0], all_nm > known_nm[-1]
    depths[before] = estimated_nm[0] + all_nm[before] - known_nm[0]
    depths[after] = estimated_nm[-1] + all_nm[after] - known_nm[-1]
    return np.asarray(depths - min(0.0, float(depths[0])))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
