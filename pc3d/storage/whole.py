"""Files and folders that are whole or not there, whatever ends the process or the machine.

Each is written under a temporary name beside its place, `.NAME.HOST-PID-N.partial`, synced, and renamed.
What a killed writer leaves is known by that name: `clean` removes it once its writer is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from pc3d.storage import disk

_NUMBER = count()
_PARTIAL = re.compile(r"\..+\.(?P<host>[\w-]+)-(?P<pid>\d+)-\d+-\d+\.partial\Z")
_DAY = 24 * 3600.0


class HashingFile(io.RawIOBase):
    """A new file to write; every byte passes through `disk.write` and the hash.

    It can be handed to `torch.save`, `np.save` and pyarrow. The first error of the disk is remembered,
    because some writers turn it into one of their own.

    Attributes:
        size: bytes so far. error: the first `OSError` of a write.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = disk.create(path)
        self._hash = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            disk.write(self._file, view)
        except OSError as error:
            self.error = self.error or error
            raise
        self._hash.update(view)
        self.size += len(view)
        return len(view)

    def sync(self) -> None:
        disk.sync(self._file)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    @property
    def sha256(self) -> str:
        """Hash of what was written, in hexadecimal."""
        return self._hash.hexdigest()


def partial_name(target: Path) -> Path:
    """A new temporary name beside `target` that tells who writes it."""
    host = re.sub(r"[^\w-]", "-", socket.gethostname())
    return target.with_name(
        f".{target.name}.{host}-{os.getpid()}-{threading.get_ident()}-{next(_NUMBER)}.partial"
    )


@contextmanager
def new_file(path: Path, durable: bool = True) -> Iterator[HashingFile]:
    """Write a file all or nothing; one that is there is replaced when the new one is whole.

    Args:
        path: where to; its folder must exist.
        durable: wait for the disk, so that a machine that loses power keeps the old file or has the new one.
            Without it only a killed process is safe; for many small files that can be made again.

    Raises:
        OSError: of the disk (full, read-only), in place of what a writer made of it.
    """
    path = Path(path)
    unfinished = partial_name(path)
    try:
        file = HashingFile(unfinished)
        with file:
            try:
                yield file
            except OSError:
                raise
            except Exception as error:
                if file.error is not None:
                    raise file.error from error
                raise
            if durable:
                file.sync()
        disk.rename(unfinished, path)
    except BaseException as error:
        _discard(unfinished)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write knows no name
        raise
    if durable:
        disk.sync_folder(path.parent)


def write_bytes(path: Path, data: bytes, durable: bool = True) -> str:
    """Write a file all or nothing; returns its SHA-256."""
    with new_file(path, durable) as file:
        file.write(data)
    return file.sha256


def write_json(path: Path, value: Any, durable: bool = True) -> str:
    """Write a value as sorted, indented JSON, all or nothing; returns the file's SHA-256."""
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    return write_bytes(path, text.encode(), durable)


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or is nested deeper than anything that is written here; with its name.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{Path(path).name} is no JSON that can be read: {error}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):  # the next start cleans it
        disk.remove(path)


def leftovers(folder: Path, recursive: bool = False) -> list[Path]:
    """What killed writers left in a folder.

    A leftover of this machine is one when its process is gone, one of another machine when it is a day old.
    """
    found = sorted(Path(folder).rglob(".*.partial") if recursive else Path(folder).glob(".*.partial"))
    matches = ((path, _PARTIAL.match(path.name)) for path in found)
    return [path for path, match in matches if match and _abandoned(path, match["host"], int(match["pid"]))]


def clean(folder: Path, recursive: bool = False) -> list[Path]:
    """Remove the `leftovers` of a folder; returns what was removed."""
    removed = leftovers(folder, recursive)
    for path in removed:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            _discard(path)
    return removed


def _abandoned(path: Path, host: str, pid: int) -> bool:
    if host == re.sub(r"[^\w-]", "-", socket.gethostname()):
        return pid != os.getpid() and not process_exists(pid)
    try:
        return time.time() - path.stat().st_mtime > _DAY
    except OSError:
        return False


def process_exists(pid: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
