"""Which frames are read and in which order: endless, seeded, resumable at any step in constant time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from pc3d.data.classes import ClassSet
from pc3d.data.detection import counted_boxes
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.records import Sweep


class StreamSampler(Sampler[tuple[int, int]]):
    """An endless stream of (pass, index): one seeded permutation of the data after the other.

    The pass number travels with the index so that augmentation differs from pass to pass in every
    worker. The same seed gives the same stream, whatever the number of workers; with several
    ranks, rank r reads every `world`-th element from the r-th on.

    Args:
        length: number of frames. seed: of the permutations. rank, world: of the process.

    Attributes:
        start: elements of this rank's stream to leave out, set when a run resumes.
    """

    def __init__(self, length: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        if length < 1:
            raise ValueError("no frame to sample from: the split or the label fraction is empty")
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.start = 0

    def __len__(self) -> int:
        """Elements of one pass over the data, of this rank."""
        return max(self.length // self.world, 1)

    def permutation(self, number: int) -> NDArray[np.int64]:
        """(length,) the order of a pass: a function of the seed and the number of the pass alone."""
        return np.random.default_rng((self.seed, number)).permutation(self.length)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.rank + self.start * self.world
        number = -1
        while True:
            if position // self.length != number:
                number = position // self.length
                order = self.permutation(number)
            yield number, int(order[position % self.length])
            position += self.world


def class_balanced_rows(
    index: SweepIndex,
    rows: Sequence[int] | NDArray[np.int64],
    rng: np.random.Generator,
    classes: Sequence[str] | None = None,
) -> NDArray[np.int64]:
    """Frames repeated so that each class is drawn equally often (CBGS, Zhu et al. 2019, section 3.1).

    The frames that show a class are its group; a frame is in the group of every class that it shows.
    All groups together have S frames, and each of the K classes that occur gets S / K draws from its
    group. Within a group every frame comes equally often, up to one: the authors draw with replacement.

    Args:
        index: of the data set. Each row is read once: about 1 ms a frame.
        rows: annotated key frames.
        rng: which frames come once more.
        classes: detection classes of the index, None for all. An object that is known to hold no LiDAR
            point does not count.

    Returns:
        (about S,) rows, ascending, with repetitions. Frames without any of the classes are not in it.

    Raises:
        DataError: a frame is not annotated, none shows any of the classes, or the index has none.
        ValueError: an unknown class.
    """
    own = ClassSet.of(index.metadata)
    if own is None or not own.detection:
        fail("the index has no detection classes to balance", index.folder, "leave `data.balance` out")
    names = own.detection if classes is None else classes
    unknown = sorted(set(names) - set(own.detection))
    if unknown:
        raise ValueError(f"unknown classes {', '.join(unknown)}, use {', '.join(own.detection)}")
    rows = np.asarray(rows, dtype=np.int64)
    none = np.zeros((0, len(own.detection)), dtype=np.bool_)
    shows = np.stack([_classes_shown(index[int(row)], own) for row in rows]) if len(rows) else none
    numbers = [own.detection.index(name) for name in names]
    groups = [group for number in numbers if len(group := rows[shows[:, number]])]
    if not groups:
        fail("no frame shows any of the classes to balance", index.folder, "balance other frames or classes")
    quota = max(1, round(sum(map(len, groups)) / len(groups)))
    return np.sort(np.concatenate([_drawn(group, quota, rng) for group in groups]))


def _classes_shown(sweep: Sweep, classes: ClassSet) -> NDArray[np.bool_]:
    """(K,) whether an object of each detection class, with points or of unknown number, is there."""
    if sweep.boxes is None:
        fail("the sweep has no annotated boxes", f"sweep {sweep.token}", "balance annotated key frames only")
    labels = classes.box_labels(sweep.boxes.names)
    return np.bincount(labels[counted_boxes(sweep.boxes, labels)], minlength=len(classes.detection)) > 0


def _drawn(group: NDArray[np.int64], quota: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`quota` of the group, each frame equally often up to one."""
    whole, rest = divmod(quota, len(group))
    return np.concatenate([np.tile(group, whole), rng.choice(group, rest, replace=False)])
