"""What is tried with files that somebody made to do harm: each in a process that is watched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOST_MEMORY_MB = 1000
MOST_CPU_S = 10

_SCRIPT = """
import json, resource, sys, time
import napari_emgauss as emg
from napari_emgauss.render import load, warm_up

def use(path):
    model = emg.load(path, device="cpu")
    model.render(float(model.z_nm[0]))

actions = {"model": use, "checkpoint": lambda path: list(emg.fit(json_stack(), resume=path))}

def json_stack():
    sys.path.insert(0, sys.argv[2])
    from make import small_stack
    return small_stack()

def peak_bytes():
    # The most that this process held. Linux hands the parent's peak down in ru_maxrss, but not in VmHWM.
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

warm_up()
kind, paths = sys.argv[1], sys.argv[3:]
for path in paths:
    began = time.process_time()
    try:
        actions[kind](path)
        said = ""
    except emg.EmgaussError as error:
        said = str(error)
    peak = peak_bytes() >> 20
    print(json.dumps([path, said, peak, time.process_time() - began]), flush=True)
"""


def watched(kind: str, paths: list[Path]) -> dict[str, str]:
    """Open files in a process of its own; what it said of each, after checking what that took.

    Parameters
    ----------
    kind : str
        "model" (opened and one slice rendered) or "checkpoint" (gone on from).
    paths : list of Path
        Files or folders. Memory is the most that the process ever held, so the first that takes too much is told.
    """
    data = str(Path(__file__).parent / "data")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, kind, data, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(paths), f"{paths[len(told)].name} ended the process ({done.returncode}): {done.stderr}"
    for path, said, peak_mb, cpu_s in told:
        assert peak_mb < MOST_MEMORY_MB, f"{Path(path).name} took {peak_mb} MB"
        assert cpu_s < MOST_CPU_S, f"{Path(path).name} took {cpu_s:.0f} s of CPU"
        assert "\n" not in said and len(said) < 500
    return {Path(path).name: said for path, said, *_ in told}
