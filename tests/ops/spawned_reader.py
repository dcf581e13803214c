"""What a data worker that is started anew has imported once it has read a frame: a process of its own.

    python spawned_reader.py INDEX

Prints whether spconv was there: in this process after a training's imports, in a spawned worker that read
a frame, and in this process once a sparse network was built.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from pc3d.data.batch import Needs
from pc3d.engine.data import build_dataset
from pc3d.engine.loop import end_workers
from pc3d.engine.training import begin_worker
from pc3d.models.lidar import build_lidar_encoder


def there() -> bool:
    return any(name.split(".")[0] in ("spconv", "cumm") for name in sys.modules)


class Reader(Dataset[bool]):
    """Reads a frame, and says whether spconv is in its process."""

    def __init__(self, index: Path) -> None:
        self.frames: Any = build_dataset({"index": index, "split": "sim_train"}, Needs(labels=True))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, place: int) -> bool:
        assert self.frames[0, place].token
        return there()


def main() -> None:
    before = there()
    loader = DataLoader(
        Reader(Path(sys.argv[1])),
        num_workers=1,
        persistent_workers=True,
        worker_init_fn=begin_worker,
        multiprocessing_context="spawn",
        collate_fn=list,
    )
    try:
        (seen,) = [one for batch in loader for one in batch]
    finally:
        end_workers(loader)
    build_lidar_encoder({"type": "PointPillars"})
    pillars = there()
    build_lidar_encoder({"type": "MinkUNet", "depth": 18, "widths": [4] * 8, "stem": 4})
    print(before, seen, pillars, there())


if __name__ == "__main__":
    main()
