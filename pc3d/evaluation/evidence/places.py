"""Where a study's worlds and results lie: all in one folder that may be moved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pc3d.evaluation.evidence.description import World


@dataclass(frozen=True)
class WorldFolders:
    """Folders of a world.

    Attributes:
        base: what the study makes of it. sim: of the simulation, None for an index of the user's.
        index, regions: as configs take them. root: of the raw files, None for where the index says.
        teacher, statistics: cached features of teachers, cached local statistics of points.
    """

    base: Path
    sim: Path | None
    index: Path
    regions: Path
    root: Path | None
    teacher: Path
    statistics: Path


@dataclass(frozen=True)
class Places:
    """The folder of a study.

    Attributes:
        folder: gets `units/` (results), `runs/` (weights), `worlds/`, the tables.
        worlds: of the simulated worlds, where several studies share them; by default in `folder`.
    """

    folder: Path
    worlds: Path | None = None

    def of(self, world: World) -> WorldFolders:
        """Folders of a world."""
        base = (self.worlds or self.folder / "worlds") / world.name
        regions, caches = world.regions or base / "regions", (base / "teacher", base / "statistics")
        if world.index is not None:
            return WorldFolders(base, None, world.index, regions, world.root, *caches)
        return WorldFolders(base, base / "sim", base / "index", regions, base / "sim", *caches)

    @property
    def units(self) -> Path:
        return self.folder / "units"

    def run(self, key: str) -> Path:
        """Folder of a unit's run."""
        return self.folder / "runs" / key

    def backbone(self, key: str) -> Path:
        """Weights that a pretraining unit leaves."""
        return self.run(key) / "backbone.safetensors"
