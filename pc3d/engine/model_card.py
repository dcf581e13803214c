"""The model card of checkpoints (README.md) and their config.json: what model hubs show beside safetensors.

A run folder has both, so that it can be uploaded as it is; an evaluation of its model puts the results in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pc3d import __version__
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.engine.averaging import SUFFIX
from pc3d.engine.run_data import RUN_DATA
from pc3d.models.weights import content_hash, read_metadata
from pc3d.storage import disk
from pc3d.storage.whole import file_sha256, read_json, write_bytes, write_json

CARD, CONFIG = "README.md", "config.json"
_NETWORKS = ("lidar", "image", "camera", "network")
_DESCRIBED = (*_NETWORKS, "head", "task", "objectives", "frames", "classes", "source")
"""Of a checkpoint's metadata, what stands in config.json."""
_SETTINGS = (
    "schedule.iterations",
    "data.batch_size",
    "data.sweeps",
    "data.features",
    "data.fraction",
    "optimizer.type",
    "optimizer.lr",
    "runtime.precision",
    "runtime.ema",
    "ranks",
    "seed",
)
_OURS = "<!-- Written by pc3d"
_NOTE = f"{_OURS}: a run that goes on writes the card anew, unless this line is taken out. -->"
_RESULTS, _END = "<!-- results -->", "<!-- end of the results -->"
_NO_RESULTS = "None yet: `pc3d evaluate` of a fine-tuned model puts them here, from its `metrics.json`."
_LICENCES = {
    "v1.0-sim": "none: simulated by pc3d",
    **dict.fromkeys(("v1.0-mini", "v1.0-trainval", "v1.0-test"), "CC BY-NC-SA 4.0"),
}
"""Of data in the nuScenes format, by version; other readers say it."""


def write_card(
    folder: Path, files: Sequence[Path], contract: Mapping[str, Any], run: Path | None = None
) -> None:
    """Write the card and config.json of checkpoints into a folder; a README.md of somebody else's stays.

    Args:
        folder: that gets them. files: the checkpoints, the one that is described first.
        contract: settings of the run, by dotted key. run: its folder, with `data.json` and evaluations, if
            it is another one.
    """
    run = folder if run is None else run
    config = {
        "library_name": "pc3d",
        "pc3d_version": __version__,
        "file": files[0].name,
        "files": {path.name: file_sha256(path) for path in files},
        **describe(files[0]),
    }
    if _may_write(folder, CARD):
        write_bytes(folder / CARD, _card(files, config, contract, run).encode())
    if _may_write(folder, CONFIG):
        write_json(folder / CONFIG, config)


def update_results(folder: Path) -> None:
    """Put the metrics that lie in a run folder into its card, where it has one of ours."""
    path = folder / CARD
    if not _is_ours(path):
        return
    before, start, rest = path.read_text().partition(_RESULTS)
    old, end, after = rest.partition(_END)
    new = f"\n{_results(folder, before + after)}\n"
    if start and end and new != old:
        write_bytes(path, (before + start + new + end + after).encode())


def remove_card(folder: Path) -> None:
    """Remove what `write_card` wrote."""
    for name in (CARD, CONFIG):
        if _is_ours(folder / name):
            disk.remove(folder / name)


def describe(path: Path) -> dict[str, Any]:
    """What a checkpoint's metadata say of its network and how it was trained."""
    metadata = read_metadata(path)
    found = {key: metadata[key] for key in _DESCRIBED if key in metadata}
    return {key: value if key == "task" else json.loads(value) for key, value in found.items()}


def trained_for(about: Mapping[str, Any]) -> str | None:
    """The downstream task of a checkpoint that `describe` read; None of a pretrained one."""
    return about.get("task") or ("lidarseg" if about.get("head") else None)


def loading(path: Path, task: str | None = None) -> str | None:
    """The call that loads a checkpoint from a hub; None for layers that only a next stage reads."""
    name, averaged = path.stem.removesuffix(SUFFIX), path.stem.endswith(SUFFIX)
    file = f"/{path.name}" if averaged else ""
    if name == "backbone":
        return f'pc3d.load_backbone("hf://OWNER/NAME{file}")'
    if name == "image_backbone":
        return f'pc3d.load_backbone("hf://OWNER/NAME{file}", part="image")'
    return f'pc3d.load_model("hf://OWNER/NAME/{path.name}")' if task else None


def _may_write(folder: Path, name: str) -> bool:
    return not (folder / name).exists() or _is_ours(folder / name)


def _is_ours(path: Path) -> bool:
    try:
        if path.suffix == ".md":
            return _OURS in path.read_text()
        content = read_json(path)
        return isinstance(content, dict) and content.get("library_name") == "pc3d"
    except (OSError, ValueError):
        return False


def _card(files: Sequence[Path], about: Mapping[str, Any], contract: Mapping[str, Any], run: Path) -> str:
    """The card, in Markdown; what is not known is said to be so."""
    task = trained_for(about)
    calls = [call for path in files if (call := loading(path, task))]
    networks = [f"- `{name}`: {json.dumps(about[name])}" for name in _NETWORKS if about.get(name)]
    settings = [f"- `{key}`: {value}" for key, value in contract.items() if _is_shown(key)]
    listed = [
        f"- `{path.name}`, sha256 {about['files'][path.name]}, content {content_hash(path)}" for path in files
    ]
    results = _results(run, " ".join(listed))
    sections = {
        "Use": ["    import pc3d\n", *(f"    model = {call}" for call in calls)],
        "Network": networks or ["Not stated."],
        "Method": _method(about, contract),
        "Data": _data(run),
        "Settings": settings or ["Not stated."],
        "Results": [_RESULTS, results, _END],
        "Files": listed,
    }
    head = f"---\nlibrary_name: pc3d\nlicense: other\ntags: [lidar, autonomous-driving]\n---\n\n{_NOTE}\n"
    body = "".join(f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())
    return f"{head}\n# {_title(about)}, by pc3d {__version__}\n{body}"


def _title(about: Mapping[str, Any]) -> str:
    if task := trained_for(about):
        return f"A model for {task}"
    names = ", ".join(about.get("objectives") or ())
    return f"A backbone pretrained with {names}" if names else "A backbone"


def _is_shown(key: str) -> bool:
    return key in _SETTINGS or key.startswith("init.")


def _method(about: Mapping[str, Any], contract: Mapping[str, Any]) -> list[str]:
    objectives = about.get("objectives") or {}
    method = [f"- {name}: {json.dumps(settings)}" for name, settings in objectives.items()]
    if about.get("source"):
        method.append(f"- imported: {json.dumps(about['source'])}")
    if task := trained_for(about):
        started = any(key.startswith("init.") for key in contract)
        start = "started from the weights under Settings" if started else "from scratch"
        method.append(f"- fine-tuned for {task}, {start}")
    return method or ["Not stated."]


def _data(run: Path) -> list[str]:
    """Data sets of the run with their licences, as far as their index is still there."""
    path = run / RUN_DATA
    lines = []
    for source in read_json(path).get("sources", []) if path.is_file() else []:
        try:
            index = SweepIndex.open(source["index"])
        except (DataError, OSError, ValueError):
            name = Path(source["index"]).name
            lines.append(f"- index {name}, split {source['split']}: no longer there; licence not known")
            continue
        name = index.metadata.get("dataset") or index.metadata.get("format") or "own data"
        lines.append(f"- {name}, split {source['split']}, {len(index)} sweeps; licence: {_licence(index)}")
    return lines or ["Not stated."]


def _licence(index: SweepIndex) -> str:
    stated = index.metadata.get("license") or _LICENCES.get(str(index.metadata.get("version")))
    return stated or "not stated by the data set: yours to say"


def _results(run: Path, listed: str) -> str:
    """Metrics in a run folder of the files whose hashes are in `listed`."""
    lines = []
    for file in sorted(run.glob("evaluation*/metrics.json")):
        try:
            metrics = read_json(file)
            of = metrics["settings"]["checkpoint"]
            known = of["sha256"] in listed
        except (OSError, ValueError, LookupError, TypeError):
            continue  # not of an evaluation, or of an older pc3d: nobody knows of which weights
        if known:
            shown = {key: round(value, 4) for key, value in metrics.items() if isinstance(value, float)}
            split = metrics["settings"].get("split")
            lines.append(f"- `{of['file']}`, {file.parent.name}, split {split}: {json.dumps(shown)}")
    return "\n".join(lines) or _NO_RESULTS
