"""Saves a run between its steps, and ends it there: one decision of all processes a step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from pc3d.data.batch import Batch
from pc3d.data.errors import DataError
from pc3d.engine.runs.exits import Stopped
from pc3d.engine.runs.ranks import largest, on_first, rank, world
from pc3d.engine.runs.run import Run
from pc3d.engine.runs.signals import STOPS
from pc3d.engine.runs.state import Stateful, capture, non_finite, refuse_non_finite, restore


class Keeper:
    """Keeps a run safe while it trains.

    Args:
        run: whose folder is written to.
        model: that is trained (without the wrapper of several processes). optimizer: of it.
        batch_samples: samples of a step, over all processes.
        save_every: steps, and save_minutes: minutes of the first process's clock, from one save to the next.
        extras: what else has a state, by name.

    Attributes:
        step: steps that are done. samples: of the stream that they read, over all processes.
    """

    def __init__(
        self,
        run: Run,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch_samples: int,
        save_every: int,
        save_minutes: float,
        extras: Mapping[str, Stateful] | None = None,
    ) -> None:
        self.extras = extras or {}
        self.run, self.model, self.optimizer = run, model, optimizer
        self.batch_samples, self.save_every, self.save_minutes = batch_samples, save_every, save_minutes
        self.step, self.samples = 0, 0
        self._saved, self._saved_at = 0, time.monotonic()
        self._never_finite: set[str] = set()
        self._error: Exception | None = None

    def begin(self) -> None:
        """Put the state of the checkpoint back that the run goes on from."""
        self._never_finite = non_finite({"model": self.model.state_dict(), "optimizer": {}})
        checkpoint = self.run.start.checkpoint
        if checkpoint is not None:
            state = self.run.store.read(checkpoint)
            for note in restore(state, self.model, self.optimizer, checkpoint.path, self.extras):
                print(note)
            self.step = self._saved = checkpoint.step
            samples = checkpoint.samples
            self.samples = self.step * self.batch_samples if samples is None else samples
        self._saved_at = time.monotonic()

    def done(self) -> None:
        """A step is done."""
        self.step += 1
        self.samples += self.batch_samples

    def fetch(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch; None where there is none, which `boundary` then tells why."""
        try:
            with STOPS.waiting():
                return next(batches)
        except Stopped:
            return None
        except Exception as error:
            self._error = error
            return None

    def boundary(self) -> None:
        """Between two steps: save where it is due, and end where it must be.

        Raises:
            Stopped: a signal asked for it; the run is saved.
            Exception: whatever the loader raised; the run is saved.
        """
        late = time.monotonic() - self._saved_at > 60 * self.save_minutes
        due = self.step % self.save_every == 0 or (rank() == 0 and late)
        failed, number, due_anywhere = largest([self._error is not None, STOPS.number or 0, due])
        if failed or number or due_anywhere:
            self.save()
        if self._error is not None:
            raise self._error
        if failed:
            raise DataError(f"another process could not read its data; saved at step {self.step}")
        if number:
            raise Stopped(number, self._stopped(number))

    def _stopped(self, number: int) -> str:
        saved = f"saved at step {self.step}: --resume goes on" if self.step else "before the first step"
        return f"{Stopped(number).message}; {saved}"

    def save(self) -> None:
        """Write a checkpoint of the step that was reached, unless there is one.

        Raises:
            NotFinite: the weights are not finite. OSError: the disk takes no more. In every process.
        """
        if self.step == self._saved:
            return
        state = capture(self.model, self.optimizer, self.extras)
        on_first(lambda: self._write(state))
        self._saved, self._saved_at = self.step, time.monotonic()

    def _write(self, state: dict[str, Any]) -> None:
        self.run.check()
        refuse_non_finite(state, self._never_finite, self.step)
        self.run.store.save(state, self.step, self.samples, self.run.contract)

    @property
    def stream_start(self) -> int:
        """Elements of this process's stream that were read."""
        return self.samples // world()
