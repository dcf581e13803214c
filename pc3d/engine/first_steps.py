"""A run that has nothing to learn from ends after its first steps instead of training to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor

from pc3d.data.batch import ID_KINDS, Batch
from pc3d.data.errors import fail
from pc3d.engine.runs.ranks import gathered, rank
from pc3d.findings import Finding

FIRST = 10
"""Steps that are looked at; a shorter run is looked at whole."""


class FirstSteps(Hook):
    """Adds up, in the first steps, of how many examples each loss learned.

    Nothing in any of them ends the run, of a term of a loss it is a warning. A run that is resumed within its
    first steps is judged when it has done as many again, a later one is not.

    Args:
        learns_from: logged number of examples to what one is: nothing of it ends the run.
        terms: logged number of examples to why there may be none: nothing of it is a warning.
        cameras: gives the names of the cameras that the data have.
    """

    priority = "VERY_LOW"  # the metrics of the step are written first

    def __init__(
        self,
        learns_from: Mapping[str, str],
        terms: Mapping[str, str],
        cameras: Callable[[], tuple[str, ...]],
    ) -> None:
        self.learns_from, self.terms, self.cameras = learns_from, terms, cameras
        self._looking, self._fresh = True, True
        self._steps, self._tokens = 0, dict[str, None]()
        self._counts: dict[str, Tensor] = {}

    def before_train(self, runner: Any) -> None:
        self._fresh = runner.iter == 0
        self._looking = runner.iter < FIRST

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the examples of a step; after the last that is looked at, judge.

        Raises:
            DataError: in every process alike: a loss had no example in any of the steps.
        """
        if not self._looking or not outputs:  # a step that was left out taught nothing, whatever it held
            return
        self._steps += 1
        self._tokens.update(dict.fromkeys(data_batch.tokens))
        for key in (*self.learns_from, *self.terms):
            if key in outputs:
                count = torch.as_tensor(outputs[key]).detach()
                self._counts[key] = self._counts[key] + count if key in self._counts else count
        last = runner.iter + 1 == runner.max_iters and self._fresh
        if self._steps == FIRST or last:
            self._looking = False
            self._judge(data_batch)

    def _judge(self, batch: Batch) -> None:
        own = {key: float(count) for key, count in self._counts.items()}
        parts = gathered((own, list(self._tokens)))
        empty = [key for key in own if not sum(counts[key] for counts, _ in parts)]
        none = [key for key in empty if key in self.learns_from]
        if none:
            names = ", ".join(key.rsplit("/", 1)[0] for key in none)
            lacks = "; ".join(dict.fromkeys(f"no {self.learns_from[key]}" for key in none))
            tokens = list(dict.fromkeys(token for _, tokens in parts for token in tokens))
            more = f" and {len(tokens) - 4} more" if len(tokens) > 4 else ""
            held = held_by(batch)
            shown = ", ".join(f"{count:,} {what}" for what, count in held.items())
            fail(
                f"{names} had nothing to learn from in the first {self._steps} steps: {lacks}",
                f"sweeps {', '.join(tokens[:4])}{more}; the last batch holds {shown}",
                "; ".join(_remedies(held, self.cameras)),
            )
        for key in empty if rank() == 0 else ():
            text = f"no example in the first {self._steps} steps: {self.terms[key]}"
            print(Finding(key.removesuffix("_examples"), "warning", text).line(), flush=True)


def held_by(batch: Batch) -> dict[str, int]:
    """How much a batch holds of what losses learn from, by what it is."""
    now = batch.now
    held = {"points": len(now.views["a"].points)}
    if now.pairs is not None:
        held["point-pixel pairs"] = len(now.pairs.row)
    for name in ID_KINDS:
        ids: Tensor | None = getattr(now, name)
        if ids is not None:
            places = "pixels" if ids.ndim > 1 else "points"
            held[f"{places} with {name}"] = int((ids >= 0).sum())
    if now.labels is not None:
        held["labelled points"] = int((now.labels >= 0).sum())
    if now.maps is not None:
        held["map cells"] = int(now.maps.sum())
    return held


def _remedies(held: Mapping[str, int], cameras: Callable[[], tuple[str, ...]]) -> Iterator[str]:
    """What to look at, from what a batch does not hold."""
    if held.get("point-pixel pairs") == 0:
        yield (
            f"no point lands in an image: look at the names in `data.camera_names` (the data have "
            f"{', '.join(cameras())}), at the calibration, and at `data.pairing` and `data.ego_masks`"
        )
    for name, kind in ID_KINDS.items():
        if 0 in (held.get(f"{place} with {name}") for place in ("points", "pixels")):
            yield (
                f"there are no {name}: look at `data.regions`, or make them again: "
                f"pc3d regions INDEX --out FOLDER --kinds {kind}"
            )
    if held.get("labelled points") == 0:
        yield "every label is an ignored one: look at the split, the label files and their categories"
    if held.get("map cells") == 0:
        yield "the maps are empty here: look at the maps of the data set, its poses and `data.map_grid`"
    if all(held.values()):
        where = ", the calibration" if "point-pixel pairs" in held else ""
        yield (
            f"points and what they are compared with never meet: look at `data.augmentation` (crops), "
            f"`data.points`, the range of the encoder{where}"
        )
