"""Fit every stack of a folder and write its isotropic volume; go on when one fails, and skip what is done.

python examples/batch_folder.py STACKS VOLUMES [PRESET]
"""

import sys
from pathlib import Path

import napari_emgauss as emg


def main() -> int:
    """Returns the exit code: 1 where a stack failed."""
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    preset = sys.argv[3] if len(sys.argv) == 4 else "default"
    target.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in sorted(path for path in source.iterdir() if path.suffix.lower() in {".tif", ".tiff", ".mrc"}):
        volume = target / f"{path.name.split('.')[0]}.ome.tif"
        if volume.exists():  # volumes appear under their name only when they are whole
            print(f"{path.name}: done before")
            continue
        try:
            stack = emg.read_stack(path)
            emg.export(emg.run_fit(stack, emg.preset(preset)), volume)
        except emg.EmgaussError as error:  # one sentence that says what is wrong
            print(f"{path.name}: {error}", file=sys.stderr)
            failed += 1
        else:
            print(f"{path.name}: written to {volume}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
