"""The files of a config: read whole, and where each setting stands in them."""

from __future__ import annotations

import ast
import json
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler

from pc3d.data.errors import DataError, fail
from pc3d.engine.settings.shipped import PACKAGE, shipped_path

SUFFIXES = (".py", ".yaml", ".yml", ".json")
_BASE, _DELETE = "_base_", "_delete_"


class _PlainLoader(yaml.SafeLoader):
    """Plain values, each key once, and the tuples that `Config.dump` writes."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key, _ in node.value if keys.count(key.value) > 1), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(problem=f"{twice.value} is there twice", problem_mark=twice.start_mark)
        return super().construct_mapping(node, deep)


_PlainLoader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


@register_handler(["yaml", "yml"])
class SafeYamlHandler(YamlHandler):
    """Plain values only: mmengine's own one builds whatever Python object a tag names."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        return yaml.load(file, _PlainLoader)


def plain(section: Any) -> Any:
    """A config section as plain dicts and lists."""
    if isinstance(section, Config | ConfigDict | dict):
        return {key: plain(value) for key, value in section.items()}
    if isinstance(section, list | tuple):
        return type(section)(plain(value) for value in section)
    return section


def read_files(path: Path) -> tuple[dict[str, Any], list[Path]]:
    """The settings of a config and its bases, and these files, the config first.

    Raises:
        FileNotFoundError: there is no config.
        DataError: one of the files cannot be read or is no config; it says which, and the line.
    """
    if not path.exists():
        raise FileNotFoundError(f"no config at {path}; `pc3d configs` lists the ones that ship with pc3d")
    files = list(_with_bases(path, ()))
    try:
        # mmengine's way with imports goes with its own way of bases only.
        lazy = None if "read_base" in _text(path) else False
        with patch.object(Config, "_get_cfg_path", staticmethod(_base_path)):
            read = plain(Config.fromfile(str(path), import_custom_modules=False, lazy_import=lazy))
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # whatever a config's own code raises
        _refuse(path, files, error)
    return read, list(dict.fromkeys(files))


def _with_bases(path: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    if path.resolve() in above:
        fail(
            "the config is its own base",
            path,
            f"take one `{_BASE}` out of {', '.join(p.name for p in above)}",
        )
    if not path.is_file():
        whose = f"; it is the `{_BASE}` of {above[-1]}" if above else ""
        fail(f"the config is no file{whose}", path, "name a .py, .yaml or .json file")
    if path.suffix not in SUFFIXES:
        fail(f"a config ends in {', '.join(SUFFIXES)}", path, "name a config")
    bases = _bases(path)
    yield path
    for base in bases:
        yield from _with_bases(Path(base), (*above, path.resolve()))


def _bases(path: Path) -> list[str]:
    """What a file names as its `_base_`."""
    text = _text(path)
    try:
        if path.suffix == ".py":
            bases: Any = _base_of_code(ast.parse(text, str(path)))
        else:
            bases = _base_of_values(path, text)
    except SyntaxError as error:
        fail(f"the config is no Python: {error.msg}", f"{path}, line {error.lineno}", "mend the line")
    except yaml.YAMLError as error:
        fail(
            f"the config is no plain YAML: {error}", path, "write plain values; code belongs in a .py config"
        )
    except DataError:
        raise
    except Exception as error:  # a base that code computes, too deep a nesting, broken JSON
        fail(f"the config cannot be read: {error}", path, "mend the file")
    bases = bases if isinstance(bases, list | tuple) else [bases]
    wrong = [base for base in bases if not isinstance(base, str) or "::" in base.removeprefix(PACKAGE)]
    if wrong:
        fail(
            f"`{_BASE}` is {wrong[0]!r}",
            path,
            f"name the file, or a list of files, relative to this one (or {PACKAGE}pretrain/sim_slidr.py)",
        )
    return [_base_path(base, str(path))[0] for base in bases]


def _base_path(base: str, config: str) -> tuple[str, None]:
    """Where the `_base_` of a config lies; without a scope, in which mmengine takes the place of its own."""
    named = f"{base}.py" if base.startswith(PACKAGE) and not base.endswith(SUFFIXES) else base
    return os.path.normpath(os.path.join(os.path.dirname(config), shipped_path(named))), None


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        fail(f"the config cannot be read: {error.strerror}", path, "name a file that you may read")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        fail("the config is no UTF-8 text", f"{path}, line {line}", "name a text file, or save it as UTF-8")
    if not text.strip() or "\0" in text:
        what = "is empty" if not text.strip() else "is no text"
        fail(f"the config {what}", path, "copy one (`pc3d configs show NAME`) and change it")
    return text


def _base_of_code(tree: ast.Module) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == _BASE for t in node.targets):
            # As mmengine does: an expression of constants.
            return eval(compile(ast.Expression(node.value), "", "eval"))
    return []


def _base_of_values(path: Path, text: str) -> Any:
    content = (
        json.loads(text, object_pairs_hook=_once) if path.suffix == ".json" else yaml.load(text, _PlainLoader)
    )
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        fail("the config has no sections", path, "write `section: ...` at the top level")
    return content.get(_BASE, [])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is there twice")
    return dict(pairs)


def _refuse(path: Path, files: list[Path], error: BaseException) -> None:
    """Say in which line of which file the code of a config failed."""
    names = {str(file.resolve()): file for file in files}
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if str(Path(f.filename).resolve()) in names
    ]
    where = f"{names[str(Path(frames[-1].filename).resolve())]}, line {frames[-1].lineno}" if frames else path
    what = str(error).splitlines()[0] if str(error) else "it stopped"
    what = error.args[0] if isinstance(error, KeyError) and error.args else what
    fail(f"the config cannot be read: {type(error).__name__}: {what}", where, "mend the line")


def cleaned(settings: Any, keep: bool = False) -> Any:
    """Settings as plain values; paths of shipped files are made whole.

    What goes is the `_delete_` that mmengine leaves where a section replaces nothing.

    Args:
        keep: that `_delete_`, as in a stage it is for what all stages share.
    """
    if isinstance(settings, dict):
        kept = settings.items() if keep else [pair for pair in settings.items() if pair[0] != _DELETE]
        return {key: cleaned(value, keep or key == "stages") for key, value in kept}
    if isinstance(settings, list | tuple):
        return type(settings)(cleaned(item, keep) for item in settings)
    if isinstance(settings, np.generic | np.ndarray):
        return settings.tolist()
    if isinstance(settings, Path) or (isinstance(settings, str) and settings.startswith(PACKAGE)):
        return str(shipped_path(str(settings)))
    return settings
