"""``emgauss check``: what is wrong with a stack, before it is fitted. It suggests; nothing is left out by itself."""

from __future__ import annotations

import argparse
import json

import numpy as np

from napari_emgauss.cli._inputs import new_file, say, stack_from


def run_check_command(arguments: argparse.Namespace) -> int:
    """Look at every slice, and at how they lie on each other."""
    from napari_emgauss.stack import check_alignment, estimate_thickness, find_damage, suggested_skip

    figure = None if arguments.figure is None else new_file(arguments.figure, force=arguments.force)
    stack = stack_from(arguments, arguments.stack, allow_isotropic=True, allow_damaged=True)
    reports = find_damage(stack)
    # People know slices by their number in the file, and --skip counts them so.
    numbers = stack.numbers_in_file
    left_out = list(stack.metadata.get("left_out_slices", ()))
    bad = suggested_skip(reports)
    skip = sorted([*left_out, *(numbers[k] for k in bad)])
    sound = [report.index for report in reports if report.index not in set(bad)]
    # Black and torn slices would be found askew as well, and tell nothing of the others.
    alignment = check_alignment(stack.select(sound)) if len(sound) > 2 else None
    askew = [] if alignment is None else [numbers[sound[int(k)]] for k in alignment.misplaced()]
    thickness = estimate_thickness(stack.select(sound)) if arguments.thickness and len(sound) > 2 else None

    if figure is not None:
        from napari_emgauss.evaluate import write_check_figure

        write_check_figure(figure, reports, numbers, alignment, thickness, [numbers[k] for k in sound])
        say(f"Wrote '{figure}'.")

    if arguments.json:
        found = {
            "slices": [
                {"index": numbers[one.index], "z_nm": one.z_nm, "state": one.state, "reasons": list(one.reasons)}
                for one in reports
                if one.state != "good"
            ],
            "suggested_skip": skip,
            "median_jitter_px": None if alignment is None else _number(alignment.median_jitter_px),
            "askew": askew,
            "z_positions_nm": None if thickness is None else [float(z) for z in thickness.z_nm],
        }
        print(json.dumps(found, indent=1))
        return 0

    doubtful = [report for report in reports if report.state != "good"]
    for report in doubtful:
        print(f"slice {numbers[report.index]} (z = {report.z_nm:g} nm): {report.state}: {'; '.join(report.reasons)}")
    good = len(reports) - len(doubtful)
    print(f"{good} of {len(reports)} slices look good.")
    if left_out:
        print(f"Left out already: {','.join(map(str, left_out))}.")
    if bad:
        print(f"Suggestion: --skip {','.join(map(str, skip))}")
    if askew and alignment is not None:
        worst = float(np.nanmax(alignment.jitter_length_px))
        print(f"Slices {', '.join(map(str, askew))} lie askew, by up to {worst:.1f} pixels. Suggestion: --straighten")
    elif alignment is not None:
        print(f"Slices lie well on each other: jitter {alignment.median_jitter_px:.2f} pixels (median).")
    if thickness is not None:
        trust = "" if thickness.reliable else " (not reliable on this stack)"
        vary = "cannot be told" if np.isnan(thickness.spread) else f"vary by {thickness.spread:.0%}"
        print(f"Distances between slices {vary}{trust}; depths in nm, for --z-positions:")
        print(" ".join(f"{z:.1f}" for z in thickness.z_nm))
    return 0


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
