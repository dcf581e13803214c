"""The files of a config: read whole, and where each setting stands in them."""

from __future__ import annotations

import ast
import os
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config, ConfigDict
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler

from pc3d.data.errors import DataError, fail

SUFFIXES = (".py", ".yaml", ".yml", ".json")
_BASE, _DELETE = "_base_", "_delete_"


class _PlainLoader(yaml.SafeLoader):
    """Plain values, and the tuples that `Config.dump` writes."""


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
        raise FileNotFoundError(f"no config at {path}; the ones that ship with pc3d are in configs/")
    files = list(_with_bases(path, ()))
    try:
        read = plain(Config.fromfile(str(path), import_custom_modules=False))
        # Those of a stage are for what all stages share.
        settings = {key: value if key == "stages" else _without_delete(value) for key, value in read.items()}
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # whatever a config's own code raises
        _refuse(path, files, error)
    return settings, list(dict.fromkeys(files))


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
        yield from _with_bases(Path(os.path.normpath(path.parent / base)), (*above, path.resolve()))


def _bases(path: Path) -> list[str]:
    """What a file names as its `_base_`."""
    text = _text(path)
    try:
        if path.suffix == ".py":
            bases: Any = _base_of_code(ast.parse(text, str(path)))
        else:
            content = yaml.load(text, _PlainLoader)  # JSON too
            if not isinstance(content, dict):
                fail("the config has no sections", path, "write `section: ...` at the top level")
            bases = content.get(_BASE, [])
    except SyntaxError as error:
        fail(f"the config is no Python: {error.msg}", f"{path}, line {error.lineno}", "mend the line")
    except yaml.YAMLError as error:
        fail(
            f"the config is no plain YAML: {error}", path, "write plain values; code belongs in a .py config"
        )
    except (ValueError, RecursionError, MemoryError) as error:
        fail(f"the config cannot be read: {error}", path, "mend the file")
    bases = bases if isinstance(bases, list | tuple) else [bases]
    wrong = [base for base in bases if not isinstance(base, str) or "::" in base]
    if wrong:
        fail(f"`{_BASE}` is {wrong[0]!r}", path, "name the file, or a list of files, relative to this one")
    return list(bases)


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
        fail(f"the config {what}", path, "copy one of configs/ and change it")
    return text


def _base_of_code(tree: ast.Module) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == _BASE for t in node.targets):
            return ast.literal_eval(node.value)
    return []


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


def _without_delete(settings: Any) -> Any:
    """Without the `_delete_` of sections that replace nothing, where mmengine leaves it."""
    if isinstance(settings, dict):
        return {key: _without_delete(value) for key, value in settings.items() if key != _DELETE}
    if isinstance(settings, list | tuple):
        return type(settings)(_without_delete(item) for item in settings)
    return settings


def place_of(key: str, files: list[Path]) -> str:
    """File and line where a setting stands, or the section that lacks it."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        for file in files:  # a config is before its bases, and counts
            line = _lines(file).get(".".join(parts[:length]))
            if line is not None:
                return f"{file}, line {line}"
    return str(files[0])


def _lines(file: Path) -> Mapping[str, int]:
    """Line of each setting that a Python file writes out, by its dotted key."""
    if file.suffix != ".py":
        return {}
    found: dict[str, int] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            _note(node.targets[0].id, node.value, node.lineno, found)
    return found


def _note(key: str, value: ast.expr, line: int, found: dict[str, int]) -> None:
    found[key] = line
    if isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg is not None:
                _note(f"{key}.{keyword.arg}", keyword.value, keyword.value.lineno, found)
    elif isinstance(value, ast.Dict):
        for name, item in zip(value.keys, value.values, strict=True):
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                _note(f"{key}.{name.value}", item, item.lineno, found)
    elif isinstance(value, ast.List | ast.Tuple):
        for number, item in enumerate(value.elts):
            _note(f"{key}.{number}", item, item.lineno, found)
