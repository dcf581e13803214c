"""A checkpoint as a folder that model hubs take: safetensors, config.json, and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pc3d import __version__
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.export.base import Exported, Options, Source, Target
from pc3d.models.weights import content_hash, read_metadata
from pc3d.storage.whole import read_json, write_bytes, write_json

DESCRIBED = (
    "lidar",
    "image",
    "camera",
    "network",
    "head",
    "task",
    "objectives",
    "frames",
    "classes",
    "source",
)
"""Of the checkpoint's metadata, what stands in config.json."""
SETTINGS = (
    "schedule.iterations",
    "data.batch_size",
    "data.sweeps",
    "data.features",
    "optimizer.type",
    "optimizer.lr",
    "ranks",
    "seed",
)
LOAD = {"image_backbone": 'pc3d.load_backbone("hf://OWNER/NAME", part="image")'}


def export(source: Source, options: Options) -> Exported:
    """The folder; OWNER/NAME are yours.

    Raises:
        DataError: the checkpoint is damaged.
    """
    path = source.path
    about = {key: json.loads(value) if key != "task" else value for key, value in _described(path).items()}
    config = {"library_name": "pc3d", "pc3d_version": __version__, "file": path.name, **about}
    card = _card(path, about)

    def write(out: Path) -> list[Path]:
        folder = out / "hub"
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / path.name, path.read_bytes())
        write_json(folder / "config.json", config)
        write_bytes(folder / "README.md", card.encode())
        return [folder]

    snippet = f"import pc3d\n\nmodel = {_load(path)}\n"
    notes = ("Fill in OWNER/NAME, and the licence that your data allow, before you publish it.",)
    return Exported({}, snippet, {}, notes, write)


def _described(path: Path) -> dict[str, str]:
    metadata = read_metadata(path)
    return {key: metadata[key] for key in DESCRIBED if key in metadata}


def _load(path: Path) -> str:
    if path.stem in LOAD:
        return LOAD[path.stem]
    if path.stem == "backbone":
        return 'pc3d.load_backbone("hf://OWNER/NAME")'
    return f'pc3d.load_model("hf://OWNER/NAME/{path.name}")'


def _card(path: Path, about: Mapping[str, Any]) -> str:
    """The model card, in Markdown; what is not known is said to be so."""
    run = path.parent
    contract = _json(run / "run.json").get("contract", {})
    parts = [name for name in ("lidar", "image", "camera") if about.get(name)]
    networks = [f"- `{name}`: {json.dumps(about[name])}" for name in parts]
    if "network" in about:
        networks.append(f"- `network`: {json.dumps(about['network'])}")
    objectives = about.get("objectives") or {}
    method = [f"- {name}: {json.dumps(settings)}" for name, settings in objectives.items()]
    if about.get("source"):
        method.append(f"- imported: {json.dumps(about['source'])}")
    settings = [f"- `{key}`: {contract[key]}" for key in SETTINGS if key in contract]
    sections = {
        "Use": [f"    import pc3d\n    model = {_load(path)}"],
        "Network": networks or ["Not stated."],
        "Method": method or [f"Fine-tuned: {about['task']}" if "task" in about else "Not stated."],
        "Data": _data(run),
        "Settings": settings or ["Not stated."],
        "Results": _results(run),
        "Files": [f"- `{path.name}`, content {content_hash(path)}"],
    }
    head = "---\nlibrary_name: pc3d\nlicense: other\ntags: [lidar, autonomous-driving]\n---\n"
    body = "".join(f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())
    return f"{head}\n# {path.stem} of {run.name or 'a run'}, by pc3d {__version__}\n{body}"


def _data(run: Path) -> list[str]:
    """Data sets of the run with their licences, as far as their index is still there."""
    sources = _json(run / "data.json").get("sources", [])
    lines = []
    for source in sources:
        try:
            index = SweepIndex.open(source["index"])
        except (DataError, OSError, ValueError):
            lines.append(f"- {source['index']}, split {source['split']}: no longer there; licence not known")
            continue
        name = index.metadata.get("dataset") or index.metadata.get("format") or "own data"
        licence = index.metadata.get("license") or "not stated by the data set: yours to say"
        lines.append(f"- {name}, split {source['split']}, {len(index)} sweeps; licence: {licence}")
    return lines or ["Not stated."]


def _results(run: Path) -> list[str]:
    """Metrics that were measured beside the checkpoint."""
    lines = []
    for file in sorted(run.glob("evaluation*/metrics.json")):
        metrics = _json(file)
        shown = {key: round(value, 4) for key, value in metrics.items() if isinstance(value, float)}
        lines.append(f"- {file.parent.name}: {json.dumps(shown)}")
    return lines or ["None were measured beside this checkpoint."]


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


TARGETS: dict[str, Target] = {
    "hub": Target(
        "a folder for a model hub: safetensors, config.json, model card",
        "model",
        export,
        "py",
        lambda tensors: tensors,
        "upload the folder `hub`, then as below",
    )
}
