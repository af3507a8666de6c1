"""Fit a stack in tiles on a cluster, then write the isotropic volume.

python examples/cluster.py STACK FOLDER VOLUME.ome.zarr [--slurm N | --scheduler ADDRESS | --workers N]

Three ways to have workers: SLURM jobs that dask-jobqueue starts (``--slurm 20``: up to 20 jobs; edit ``slurm_cluster``
for your site), a dask cluster that is running (``--scheduler tcp://host:8786``), or processes on this machine
(``--workers 4``, the default is 2). All machines must see STACK under the same path; FOLDER is written by this process
alone. Run the same command again after an interruption: finished tiles are kept.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import napari_emgauss as emg
from napari_emgauss.tiles import estimate, parse_memory, plan_tiles


def slurm_cluster(jobs: int) -> AbstractContextManager[Any]:
    """Jobs of eight one-thread workers; more of them the more tiles wait, and none when there is nothing to do."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(
        cores=8,
        processes=8,
        memory="32GB",  # of a job: each worker needs what `emgauss plan` says of a tile
        walltime="08:00:00",  # several times that of a tile: a job that is cut off loses the tiles it was fitting
        worker_extra_args=["--memory-limit", "0"],  # the plan keeps to the memory; dask would kill for a short peak
    )
    cluster.adapt(maximum_jobs=jobs)
    return cluster


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", type=Path)
    parser.add_argument("folder", type=Path, help="where the model's tiles are written")
    parser.add_argument("volume", type=Path, help="isotropic volume to write, .ome.zarr or .ome.tif")
    parser.add_argument("--preset", default="default", choices=emg.preset_names())
    parser.add_argument("--memory", default="4GB", help="of one worker; decides the tiles' size (default: 4GB)")
    parser.add_argument("--tile", type=int, default=512, help="largest side of a tile in pixels (default: 512)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--slurm", type=int, metavar="N", help="up to N SLURM jobs")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a dask cluster that is running")
    where.add_argument("--workers", type=int, default=2, metavar="N", help="processes on this machine (default: 2)")
    arguments = parser.parse_args()

    stack = emg.read_stack(arguments.stack.resolve())
    config = emg.preset(arguments.preset)
    plan = plan_tiles(
        stack.shape,
        stack.z_nm,
        stack.pixel_size_nm,
        config,
        memory_bytes=parse_memory(arguments.memory),
        preferred=emg.TileSize(pixels=arguments.tile),
    )
    told = estimate(plan, stack.z_nm, stack.pixel_size_nm, config)
    print(f"{told.tiles} tiles, about {told.tile_seconds / 60:.1f} min and {told.tile_memory_bytes / 1e9:.2g} GB each")

    with slurm_cluster(arguments.slurm) if arguments.slurm else nullcontext() as cluster:
        address = arguments.scheduler or (cluster.scheduler_address if cluster is not None else None)
        options = emg.RunOptions(scheduler=address, workers=None if address else arguments.workers)
        for update in emg.fit_tiles(stack, config, folder=arguments.folder, size=plan.size, options=options):
            if update.text:
                print(f"{update.fraction:4.0%}  {update.text}", flush=True)
    emg.export(emg.load(arguments.folder), arguments.volume, overwrite=True)
    print(f"written to {arguments.volume}")
    return 0


if __name__ == "__main__":  # workers are started anew and import this file
    sys.exit(main())
