"""The training loop: iterations over an endless stream, resumed without reading the past."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

from pc3d.data.batch import Batch
from pc3d.engine.runs.guard import NonFiniteGuard
from pc3d.engine.runs.keeper import Keeper
from pc3d.engine.runs.signals import STOPS


class StreamTrainLoop(IterBasedTrainLoop):
    """mmengine's iteration loop over a `StreamSampler`, under a `Keeper` and a `NonFiniteGuard`.

    mmengine resumes by loading and dropping every batch that was trained before; here the sampler
    starts where the run stopped.
    """

    @property
    def keeper(self) -> Keeper:
        return self.runner.keeper  # type: ignore[attr-defined]

    @property
    def guard(self) -> NonFiniteGuard:
        return self.runner.guard  # type: ignore[attr-defined]

    def run(self) -> Any:
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.dataloader.sampler.start = self.keeper.stream_start
        with STOPS.deferred(), ending(self.dataloader) as batches:
            while self._iter < self._max_iters and not self.stop_training:
                parts = [self.keeper.fetch(batches) for _ in range(self.runner.optim_wrapper.parts)]
                self.keeper.boundary()
                whole = [batch for batch in parts if batch is not None]
                assert len(whole) == len(parts)  # else the boundary has ended the run
                for batch in whole:
                    self._look_for_bad_samples(batch)
                self.runner.model.train()
                self.run_iter(whole)
            self.keeper.save()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _look_for_bad_samples(self, batch: Batch) -> None:
        bad = self.runner.bad_samples  # type: ignore[attr-defined]
        if bad is not None and bad.look(batch, self._iter + 1):
            self.keeper.save()
            bad.refuse(self.keeper.step)

    def run_iter(self, data_batch: list[Batch]) -> None:  # type: ignore[override]
        """One step of the optimizer, on the batches of its parts; hooks see the last of them."""
        about: dict[str, Any] = {"batch_idx": self._iter, "data_batch": data_batch[-1]}
        self.runner.call_hook("before_train_iter", **about)
        self.guard.before_step()
        outputs = mean_outputs([self._train_step(part, part is data_batch[-1]) for part in data_batch])
        skipped = self.guard.after_step(self._iter + 1, data_batch[-1], outputs)
        self.runner.call_hook("after_train_iter", **about, outputs={} if skipped else outputs)
        self._iter += 1
        self.keeper.done()
        if skipped and self.guard.streak >= self.guard.patience:
            self.keeper.save()  # the weights are those from before the first of these steps
            self.guard.check()

    def _train_step(self, batch: Batch, last: bool) -> dict[str, Any]:
        """Forward and backward; processes share the gradients after the last part of a step."""
        alone = (
            contextlib.nullcontext()
            if last
            else getattr(self.runner.model, "no_sync", contextlib.nullcontext)()
        )
        with alone:
            return self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)


def mean_outputs(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the parts of a step log: the mean of each scalar over those that have it."""
    if len(parts) == 1:
        return parts[0]
    keys = dict.fromkeys(key for part in parts for key in part)
    found = {
        key: [torch.as_tensor(part[key]).detach().float() for part in parts if key in part] for key in keys
    }
    return {key: torch.stack(values).mean() for key, values in found.items()}


@contextlib.contextmanager
def ending(loader: DataLoader) -> Iterator[Iterator[Any]]:
    """The loader's batches; its workers are gone when the block ends, also those that hang.

    They ignore signals, so that nothing but this ends them.
    """
    try:
        yield iter(loader)
    finally:
        end_workers(loader)


def end_workers(loader: DataLoader) -> None:
    """End the workers of a loader, if it has any: the process could not end before them."""
    batches, loader._iterator = loader._iterator, None
    if batches is not None:
        workers = list(getattr(batches, "_workers", ()))
        with contextlib.suppress(Exception):
            batches._shutdown_workers()  # type: ignore[attr-defined]
        until = time.monotonic() + 1.0
        for worker in workers:
            worker.join(max(until - time.monotonic(), 0.0))
            if worker.is_alive():
                worker.kill()
                worker.join()
