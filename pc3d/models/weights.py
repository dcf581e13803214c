"""Weights of a backbone in a safetensors file, with plain text metadata."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from pc3d.models.weights_file import content_hash, read_metadata, read_weights, write_weights

__all__ = [
    "LoadReport",
    "content_hash",
    "load_backbone",
    "load_tensors",
    "read_metadata",
    "read_weights",
    "save_backbone",
]


@dataclass(frozen=True)
class LoadReport:
    """What `load_backbone` or `load_tensors` did.

    Attributes:
        loaded: names of the tensors that were loaded.
        missing: names that the model has and the file lacks.
        unexpected: names that the file has and the model lacks.
        mismatched: names with the model's and the file's shape, where they differ.
        metadata: the file's metadata.
        fresh: names that the model has and no such file can have; they stay as they were initialised.
        left_out: what of the file was not asked for, and why.
        shapes: of the missing, unexpected and fresh tensors.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    metadata: dict[str, str] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True where model and file have the same tensors, but for `fresh` and `left_out`."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors fit"]
        lines += [f"missing in the file: {name} {self.shapes[name]}" for name in self.missing]
        lines += [f"unknown to the model: {name} {self.shapes[name]}" for name in self.unexpected]
        lines += [f"{name}: model {want}, file {got}" for name, want, got in self.mismatched]
        lines += [f"not in such files, as initialised: {name} {self.shapes[name]}" for name in self.fresh]
        lines += [f"left out: {name} ({why})" for name, why in self.left_out.items()]
        return "\n".join(lines)


def save_backbone(model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> str:
    """Write the state of `model` (parameters and buffers) as safetensors, all or nothing.

    The same state and metadata give the same bytes.

    Args:
        model: the backbone.
        path: file to write; its folder is made.
        metadata: plain text facts kept in the file's header, such as the configuration as JSON.

    Returns:
        SHA-256 of the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A copy each: safetensors refuses tensors that share memory.
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    return write_weights(path, state, metadata or {})


def load_backbone(model: nn.Module, path: str | Path, partial: bool = False, prefix: str = "") -> LoadReport:
    """Load a file of `save_backbone` into `model`.

    Args:
        model: the backbone; unchanged where an error is raised.
        path: safetensors file.
        partial: load what fits by name and shape; otherwise everything must fit.
        prefix: take the tensors whose name starts with it only, and leave it out of their names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, a damaged one, or (without `partial`) tensors that do not fit, all
            listed; with `partial`, no tensor fits.
    """
    saved, metadata = read_weights(path)
    saved = {name[len(prefix) :]: tensor for name, tensor in saved.items() if name.startswith(prefix)}
    return load_tensors(model, saved, path, partial, metadata)


def load_tensors(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    source: object,
    partial: bool = False,
    metadata: dict[str, str] | None = None,
    fresh: tuple[str, ...] = (),
    left_out: dict[str, str] | None = None,
    remedy: str = "partial=True loads what fits",
) -> LoadReport:
    """Load tensors into `model`, where all of them fit.

    Args:
        model: unchanged where an error is raised.
        tensors: by the model's names.
        source, remedy: what they come from and what to do where they do not fit, for the error.
        partial: load what fits by name and shape; otherwise everything must fit.
        metadata, left_out: for the report.
        fresh: beginnings of names that `tensors` need not have.

    Raises:
        ValueError: as `load_backbone`.
    """
    state = model.state_dict()
    shapes = {
        name: (tuple(state[name].shape), tuple(tensors[name].shape)) for name in state if name in tensors
    }
    absent = [name for name in state if name not in tensors]
    unexpected = [name for name in tensors if name not in state]
    report = LoadReport(
        loaded=tuple(name for name, (want, got) in shapes.items() if want == got),
        missing=tuple(name for name in absent if not name.startswith(fresh)),
        unexpected=tuple(unexpected),
        mismatched=tuple((name, want, got) for name, (want, got) in shapes.items() if want != got),
        metadata=metadata or {},
        fresh=tuple(name for name in absent if name.startswith(fresh)),
        left_out=left_out or {},
        shapes={
            **{name: tuple(state[name].shape) for name in absent},
            **{name: tuple(tensors[name].shape) for name in unexpected},
        },
    )
    if not report.loaded or not (partial or report.complete):
        hint = "" if partial else f"; {remedy}"
        raise ValueError(f"{source} does not fit {type(model).__name__}{hint}:\n{report}")
    fitting = OrderedDict((name, tensors[name]) for name in report.loaded)
    # Versions of the modules: mmdetection3d, where it is imported, permutes sparse kernels that have none.
    fitting._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    model.load_state_dict(fitting, strict=False)
    return report
