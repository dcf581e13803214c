"""A checkpoint as a folder that model hubs take: safetensors, config.json, and a model card."""

from __future__ import annotations

from pathlib import Path

from pc3d.engine.model_card import describe, loading, trained_for, write_card
from pc3d.engine.runs.folder import RUN
from pc3d.export.base import Exported, Options, Source, Target
from pc3d.storage.whole import read_json, write_bytes


def export(source: Source, options: Options) -> Exported:
    """The folder; OWNER/NAME are yours.

    Raises:
        DataError: the checkpoint is damaged.
    """
    path = source.path
    run = path.parent / RUN
    contract = read_json(run).get("contract", {}) if run.is_file() else {}

    def write(out: Path) -> list[Path]:
        folder = out / "hub"
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / path.name, path.read_bytes())
        write_card(folder, [folder / path.name], contract, path.parent)
        return [folder]

    snippet = f"import pc3d\n\nmodel = {loading(path, trained_for(describe(path)))}\n"
    notes = ("Fill in OWNER/NAME, and the licence that your data allow, before you publish it.",)
    return Exported({}, snippet, {}, notes, write)


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
