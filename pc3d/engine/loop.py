"""The training loop: iterations over an endless stream, resumed without reading the past."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop


class StreamTrainLoop(IterBasedTrainLoop):
    """mmengine's iteration loop over a `StreamSampler`.

    mmengine resumes by loading and dropping every batch that was trained before; here the sampler
    starts where the run stopped.
    """

    def run(self) -> Any:
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        if self._iter:
            print_log(f"Resumed at iteration {self._iter}", logger="current", level=logging.INFO)
        self.dataloader.sampler.start = self._iter * self.dataloader.batch_size
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model
