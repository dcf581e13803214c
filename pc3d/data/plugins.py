"""Classes of the user's own, named `module:Class` wherever pc3d takes a name of a class of its own.

The module is any that Python finds: installed, on PYTHONPATH, or in the folder in which `pc3d` is started.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import isclass
from typing import Any, TypeVar

from pc3d.data.errors import did_you_mean, fail

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z")


def is_plugin(name: object) -> bool:
    """Whether a name has the form `module:Class`."""
    return isinstance(name, str) and _NAME.match(name) is not None


class Registry(dict[str, Callable[..., T]]):
    """Constructors by name. A name `module:Class` is there, too: it is imported when it is asked for.

    Args:
        base: what classes of the user's own must derive from. A checkpoint names classes; so it can make
            nothing else than one of these.
        known: the constructors of pc3d.
    """

    def __init__(self, base: type, known: Mapping[str, Callable[..., T]]) -> None:
        super().__init__(known)
        self.base = base

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or is_plugin(name)

    def __missing__(self, name: str) -> Callable[..., T]:
        if not is_plugin(name):
            raise KeyError(name)
        return resolve(name, self.base)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict.

        Raises:
            DataError: a name `module:Class` that is none of the `base`, or cannot be imported.
        """
        return self[name] if name in self else default  # noqa: SIM401  (it would call itself)


def resolve(name: str, base: type = object) -> Any:
    """The class that `module:Class` names.

    Args:
        base: what it must derive from.

    Raises:
        DataError: there is no such module or class, importing it fails, or it derives from something else.
    """
    module_name, _, attribute = name.partition(":")
    module = _imported(module_name, name)
    found = getattr(module, attribute, None)
    if found is None:
        near = did_you_mean(attribute, [key for key, value in vars(module).items() if isclass(value)])
        fail(f"{module_name} has no class {attribute}{near}", _file_of(module), f"mend the name {name!r}")
    if not isclass(found) or not issubclass(found, base):
        wanted = f"{base.__module__}.{base.__qualname__}"
        fail(f"{attribute} is no class below {base.__name__}", _file_of(module), f"derive it from {wanted}")
    return found


def _imported(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # a package that the user's module needs
        fail(
            f"there is no module {error.name!r}",
            f"type {name!r}",
            "start the command in the folder that holds it, or put that folder on PYTHONPATH",
        )
    except ImportError:
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        fail(
            f"importing {module} failed: {type(error).__name__}: {error}",
            f"{at.filename}, line {at.lineno}",
            "mend the module",
        )


def _file_of(module: Any) -> str:
    return str(getattr(module, "__file__", None) or module.__name__)
