"""Pretraining: encoders and objectives over shared encodings, as one trainable model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from typing_extensions import Self

from pc3d.contrast.policy import Part
from pc3d.data.batch import Batch, Needs
from pc3d.engine.config import plain
from pc3d.engine.data import MixedDataset, build_dataset, frame_settings
from pc3d.engine.data_checks import check_data, write_checks
from pc3d.engine.frozen_parts import refuse_random_frozen
from pc3d.engine.gradients import gradient_conflicts
from pc3d.engine.initial_weights import FILES, HEADS, layer_of, load_initial
from pc3d.engine.runs.run import Mode
from pc3d.engine.stages import run_stages, stage_configs
from pc3d.engine.teacher_maps import use_teacher_cache
from pc3d.engine.training import TrainableModel, open_run, seeded, start_distributed, train
from pc3d.findings import Finding
from pc3d.models.bev import build_view_transform
from pc3d.models.bev.base import ViewTransform
from pc3d.models.image import build_image_encoder
from pc3d.models.lidar import build_lidar_encoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.registry import build_objective, objective_type
from pc3d.ops.device import KnownNumber


def objective_needs(objectives: dict[str, dict[str, Any]]) -> Needs:
    """What all objectives of a config ask of the loader together."""
    if not objectives:
        raise ValueError("the config has no objective: set at least one under `objectives`")
    return reduce(or_, (objective_type(config).needs_of(config) for config in objectives.values()))


class Pretrainer(TrainableModel):
    """Weighted sum of objectives over one LiDAR encoder, one image encoder and one camera branch.

    Args:
        lidar: config of the LiDAR encoder. image: config of the image encoder, or None.
        objectives: name to config with `type`, `weight` (default 1) and the objective's arguments.
        seed: of the initial weights and of the points that are sampled.
        camera: config of the view transform over the image encoder, or None.
        frozen: of `lidar`, `image`, `camera`: parts that stay as they are, in evaluation mode.
        shared_heads: layers of an objective that another one lends it, by name:
            `{"rad.teacher_projector": "prc.projector"}`.
        gradients_every: every so many steps the norms and cosines of the objectives' gradients at the
            encoders' outputs are logged, 0 for never.
        monitors_every: in the last of every so many steps compared features are looked at for collapse.
    """

    def __init__(
        self,
        lidar: dict[str, Any],
        image: dict[str, Any] | None,
        objectives: dict[str, dict[str, Any]],
        seed: int = 0,
        camera: dict[str, Any] | None = None,
        frozen: Sequence[str] = (),
        shared_heads: Mapping[str, str] | None = None,
        gradients_every: int = 0,
        monitors_every: int = 1,
    ) -> None:
        super().__init__()
        self.seed, self.gradients_every, self.monitors_every = seed, gradients_every, monitors_every
        with seeded(seed):
            self.lidar = build_lidar_encoder(lidar)
            self.image = build_image_encoder(image) if image else None
            self.camera = self._build_camera(camera)
            self.objectives = nn.ModuleDict(
                {
                    key: build_objective(config, self.lidar, self.image, self.camera)
                    for key, config in objectives.items()
                }
            )
        for borrower, lender in (shared_heads or {}).items():
            layer_of(self.objectives, borrower, "shared_heads")
            self.objectives.set_submodule(borrower, layer_of(self.objectives, lender, "shared_heads"))
        unknown = sorted(set(frozen) - set(self.parts))
        if unknown:
            raise ValueError(f"frozen names {', '.join(unknown)}; the config has {', '.join(self.parts)}")
        self._frozen = [self.parts[name].requires_grad_(False) for name in frozen]
        self.weights = weights = {key: float(config.get("weight", 1.0)) for key, config in objectives.items()}
        learning: dict[str, Objective] = {key: o for key, o in self.objectives.items() if weights[key] > 0}  # type: ignore[misc]
        self.learns_from = {f"{key}/examples": o.learns_from for key, o in learning.items()}
        self.terms = {f"{key}/{t}_examples": why for key, o in learning.items() for t, why in o.terms.items()}
        self._want_bev = any(o.reads_bev for o in self.objectives.values())  # type: ignore[union-attr]
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.step: Tensor
        self._number = KnownNumber()

    def _build_camera(self, config: dict[str, Any] | None) -> ViewTransform | None:
        if config is None:
            return None
        if self.image is None:
            raise ValueError("`camera` lifts image features: set `image` in the config")
        return build_view_transform(config, self.image)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The encoders that exist, by name."""
        named = {"lidar": self.lidar, "image": self.image, "camera": self.camera}
        return {name: module for name, module in named.items() if module is not None}

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    @property
    def steps(self) -> int:
        """`step` as a number: read from a GPU only where something else than `forward` has changed it."""
        return self._number.of(self.step)

    def encode(self, batch: Batch) -> Encodings:
        """Encodings of this step; the random numbers depend on the seed, the step and the rank."""
        rank = int(os.environ.get("RANK", 0))
        generator = torch.Generator().manual_seed(hash((self.seed, self.steps, rank)) % 2**63)
        return Encodings(
            batch,
            self.lidar,
            self.image,
            self.camera,
            want_bev=self._want_bev,
            generator=generator,
            monitors=(self.steps + 1) % self.monitors_every == 0,
        )

    def forward(self, batch: Batch, mode: str = "loss") -> dict[str, Tensor]:
        """Losses (`<objective>/loss`, weighted) and logged scalars (`<objective>/<name>`)."""
        encodings = self.encode(batch)
        losses: dict[str, Tensor] = {}
        logged: dict[str, Tensor] = {}
        for key, objective in self.objectives.items():
            result = objective(encodings)
            losses[key] = self.weights[key] * result.pop("loss")
            logged.update({f"{key}/{name}": value for name, value in result.items()})
        if self.gradients_every and self.steps % self.gradients_every == 0 and torch.is_grad_enabled():
            for network, outputs in encodings.outputs().items():
                report = gradient_conflicts(losses, outputs)
                logged.update({f"gradients/{network}/{name}": value for name, value in report.items()})
        if self.training:
            self._number.add(self.step, 1)
            with torch.autocast(self.step.device.type, enabled=False):
                for part in self.objectives.modules():
                    if isinstance(part, Part):
                        part.commit()
        return {**{f"{key}/loss": loss for key, loss in losses.items()}, **logged}


def build_pretrainer(config: Config) -> Pretrainer:
    """The model of a pretraining config, with its initial weights."""
    model = Pretrainer(
        plain(config.lidar),
        plain(config.get("image")),
        plain(config.objectives),
        config.get("seed", 0),
        plain(config.get("camera")),
        plain(config.get("frozen", ())),
        plain(config.get("shared_heads")),
        config.get("runtime", {}).get("gradients_every", 50),
        config.get("runtime", {}).get("log_every", 10),
    )
    if config.get("init"):
        load_initial(plain(config.init), model.parts, model.objectives)
    return model


def pretrain(
    config: Config,
    work_dir: Path,
    resume: bool = False,
    overwrite: bool = False,
    allow_change: Sequence[str] = (),
    take_over: bool = False,
) -> Path:
    """Run pretraining, all its stages where the config has any; returns the backbone file.

    Args:
        resume, overwrite, allow_change, take_over: what to do with a run that is in `work_dir`, see `Mode`.

    Raises:
        DataError, ValueError: the config, the data or the folder cannot be used.
        Stopped: a signal ended the run. NotFinite: it cannot go on.
    """
    mode = Mode(resume, overwrite, tuple(allow_change), take_over)
    start_distributed(config.get("launcher", "none"))
    if config.get("stages"):
        for stage in stage_configs(config, Path(work_dir)).values():
            _checked_data(stage)  # before hours are spent on the stages before it
        return run_stages(config, Path(work_dir), mode, _pretrain)
    return _pretrain(config, Path(work_dir), mode)


def _checked_data(config: Config) -> tuple[MixedDataset, list[Finding]]:
    """The data of a run and what was found about them."""
    refuse_random_frozen(plain(config))
    needs = objective_needs(plain(config.objectives))
    dataset = build_dataset(plain(config.data), needs, config.get("seed", 0))
    return dataset, check_data(dataset, config.data.get("calibration", "stop"))


def _pretrain(config: Config, work_dir: Path, mode: Mode) -> Path:
    dataset, findings = _checked_data(config)
    with open_run(config, dataset, work_dir, mode) as run:
        if not run.start.finished:
            write_checks(run.folder, findings)
            model = build_pretrainer(config)
            use_teacher_cache(config, dataset, model.image)
            saved: dict[str, nn.Module] = {
                FILES[name]: part
                for name, part in model.parts.items()
                if name == "lidar" or any(p.requires_grad for p in part.parameters())
            }
            saved[HEADS] = model.objectives
            described = {key: plain(config.get(key)) for key in ("lidar", "image", "camera", "objectives")}
            described["frames"] = frame_settings(plain(config.data))  # what its input columns are
            metadata = {key: json.dumps(value) for key, value in described.items() if value is not None}
            train(model, dataset, config, run, "pretrain", saved, metadata)
    return work_dir / "backbone.safetensors"
