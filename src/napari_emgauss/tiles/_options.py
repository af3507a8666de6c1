"""How the tiles of a volume are fitted, apart from the fit itself."""

from __future__ import annotations

from dataclasses import dataclass

from napari_emgauss._errors import ConfigError


@dataclass(frozen=True)
class RunOptions:
    """How the tiles of a volume are fitted, apart from the fit itself.

    Parameters
    ----------
    workers : int or None
        Processes on this machine that fit tiles in parallel. None: one tile after another in this process.
    scheduler : str or None
        Address of a dask scheduler whose workers fit the tiles instead.
    threads_per_tile : int
        CPU threads that fit one tile. Part of what makes two runs equal, unlike the number of workers.
    share_prior : bool
        Choose and train a prior that learns (``auto``, ``self``) once, on a sample of the volume, not in every tile;
        with all threads of this machine, whose number is a part of what makes two runs equal, too.
    only : tuple of int or None
        Fit these tiles only, by their number in the plan: a sample, to see what the rest would cost.
    """

    workers: int | None = None
    scheduler: str | None = None
    threads_per_tile: int = 1
    share_prior: bool = True
    only: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"There must be at least one worker, not {self.workers}.")
        if self.workers is not None and self.scheduler is not None:
            raise ConfigError(
                "Give either a number of workers to start here or a scheduler that has its own, not both."
            )
        if self.threads_per_tile < 1:
            raise ConfigError(f"A tile needs at least one thread, not {self.threads_per_tile}.")
