"""The configs that ship with pc3d, by name, wherever pc3d is installed."""

from __future__ import annotations

from pathlib import Path

import pc3d
from pc3d.data.errors import did_you_mean, fail

PACKAGE = "pc3d::"
"""Before the path of a shipped file: `pc3d::pretrain/sim_slidr.py`."""


def shipped_folder() -> Path:
    """The folder `configs`: in the installed package, or beside the package in a checkout."""
    package = Path(pc3d.__file__).resolve().parent
    installed = package / "configs"
    return installed if (installed / "_base_").is_dir() else package.parent / "configs"


def shipped_configs(kind: str | None = None) -> dict[str, Path]:
    """The configs by name (`pretrain/sim_slidr`), of a kind or all."""
    folder = shipped_folder()
    kinds = ("pretrain", "finetune") if kind is None else (kind,)
    return {f"{kind}/{path.stem}": path for kind in kinds for path in sorted((folder / kind).glob("*.py"))}


def config_file(name: str | Path, kind: str | None = None) -> Path:
    """The file of a config that a user names: their own by its path, a shipped one by its name.

    Args:
        name: a path, or the name of a shipped config, with or without `.py`, its kind and `configs/`.
        kind: `pretrain` or `finetune`, of names that do not say it.

    Raises:
        FileNotFoundError: there is neither.
        DataError: a name that a `pretrain` and a `finetune` config have.
    """
    path = Path(name)
    if path.exists():
        return path
    known = shipped_configs()
    wanted = str(name).removeprefix(PACKAGE).removeprefix("configs/").removesuffix(".py")
    if wanted in known:
        return known[wanted]
    found = [full for full in known if full.split("/")[1] == wanted and full.startswith(kind or "")]
    if len(found) > 1:
        fail(f"there are several configs {wanted}", ", ".join(found), "name one of them in full")
    if found:
        return known[found[0]]
    near = did_you_mean(wanted, [wanted_of for full in known for wanted_of in (full, full.split("/")[1])])
    raise FileNotFoundError(f"no config at {path}{near}; `pc3d configs` lists the ones that ship with pc3d")


def shipped_path(text: str) -> Path:
    """The path that a text is; one that begins with `pc3d::` lies among the shipped files."""
    return shipped_folder() / text.removeprefix(PACKAGE) if text.startswith(PACKAGE) else Path(text)
