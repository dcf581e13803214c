"""The first step of a run that was not finite, kept so that it can be run again.

RUN/failure/failure.json   step, sweeps, losses, the config of the run as data
RUN/failure/state.pt       batch, weights, random state before the step
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.data.batch import Batch
from pc3d.data.batch_plain import batch_from_plain, batch_to_plain
from pc3d.data.errors import DataError, fail
from pc3d.engine.runs.contract import plain_value
from pc3d.engine.runs.ranks import largest, rank, world
from pc3d.storage.whole import new_file, write_json

FACTS, STATE = "failure.json", "state.pt"


@dataclass(frozen=True)
class Failure:
    """A step that can be run again.

    Attributes:
        kind: `pretrain` or `finetune`. config: of the run. step: from 1. rank: of the process.
        batch, model, random: what it ran on, weights by name, random state.
    """

    kind: str
    config: dict[str, Any]
    step: int
    rank: int
    batch: Batch
    model: dict[str, Tensor]
    random: dict[str, Any]


def is_recorder(finite_loss: bool) -> bool:
    """Whether this process keeps the step: the first whose own loss was not finite, else the first."""
    candidate = rank() if not finite_loss else world()
    first = -largest([-candidate])[0]
    return rank() == (first if first < world() else 0)


def record_failure(
    folder: Path,
    kind: str,
    config: Mapping[str, Any],
    step: int,
    batch: Batch,
    model: nn.Module,
    random: Mapping[str, Any],
    results: Mapping[str, Any],
) -> None:
    """Write a step into `folder`, unless one is there: the first one tells most."""
    if (folder / FACTS).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    state = {"batch": batch_to_plain(batch), "model": dict(model.state_dict()), "random": dict(random)}
    with new_file(folder / STATE) as file:
        torch.save(state, file)  # type: ignore[arg-type]  # it needs `write` alone
    facts = {
        "kind": kind,
        "step": step,
        "rank": rank(),
        "tokens": batch.tokens,
        "losses": {key: float(torch.as_tensor(value)) for key, value in results.items()},
        "config": plain_value(config),
        "replay": "pc3d replay RUN/failure",
    }
    write_json(folder / FACTS, facts)


def read_failure(folder: Path) -> Failure:
    """The step that was kept in a folder; nothing in it is executed.

    Raises:
        DataError: there is none, or it is broken.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / FACTS).read_text())
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        batch = batch_from_plain(state["batch"])
        return Failure(
            facts["kind"],
            facts["config"],
            facts["step"],
            facts["rank"],
            batch,
            state["model"],
            state["random"],
        )
    except FileNotFoundError:
        fail("no failed step is kept", folder, "name the folder `failure` of a run that had one")
    except Exception as error:  # of a broken file: of many kinds
        raise DataError(
            f"the failed step cannot be read: {str(error).splitlines()[0]}\n  where: {folder}\n"
            "  remedy: run the training again"
        ) from error
