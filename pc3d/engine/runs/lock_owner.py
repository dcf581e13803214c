"""Who holds the lock of a run folder, and what a person reads about it."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pc3d.data.errors import DataError
from pc3d.storage.whole import process_exists


@dataclass(frozen=True)
class Owner:
    """A process that writes into a run folder.

    Attributes:
        host, boot, pid, pid_namespace: which process; a container has process numbers of its own.
        user, started: for the person who reads it. nonce: another one for each lock that is taken.
        flock: whether the file system locked the file.
    """

    host: str
    boot: str
    pid: int
    pid_namespace: str
    user: str
    started: str
    nonce: str
    flock: bool = False

    @classmethod
    def here(cls) -> Owner:
        """This process, now."""
        return cls(
            host=socket.gethostname(),
            boot=_boot(),
            pid=os.getpid(),
            pid_namespace=_pid_namespace(),
            user=_user(),
            started=time.strftime("%Y-%m-%d %H:%M:%S"),
            nonce=secrets.token_hex(16),
        )

    @classmethod
    def unknown(cls) -> Owner:
        """A holder whose file cannot be read."""
        return cls("", "", 0, "", "", "", "")

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, data: bytes) -> Owner | None:
        """The owner that a lock file names, None for anything else."""
        try:
            facts = json.loads(data)
            owner = cls(**{field.name: facts[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        texts = (owner.host, owner.boot, owner.pid_namespace, owner.user, owner.started, owner.nonce)
        return owner if isinstance(owner.pid, int) and all(isinstance(text, str) for text in texts) else None

    def is_of_this_machine(self) -> bool:
        """Whether it runs, or ran before a restart, on this host."""
        return self.host == socket.gethostname()

    def may_be_running(self) -> bool:
        """Whether this host can still run it: it has not restarted since, and the process number is used."""
        if self.boot != _boot():
            return False
        return self.pid_namespace != _pid_namespace() or process_exists(self.pid)

    def __str__(self) -> str:
        if not self.nonce:
            return "a process that cannot be named"
        return f"process {self.pid} of {self.user} on {self.host}, since {self.started}"


class RunLocked(DataError):
    """Another run has the right to write into a run folder.

    Attributes:
        owner: who, as far as it is known.
    """

    def __init__(self, what: str, folder: Path, remedy: str, owner: Owner | None = None) -> None:
        super().__init__(f"{what}\n  where: {folder}\n  remedy: {remedy}")
        self.owner = owner

    @classmethod
    def held(cls, folder: Path, owner: Owner | None, age: float | None) -> RunLocked:
        """To whom asks for the lock."""
        seen = "" if age is None else f"; last sign of life {max(age, 0.0):.0f} s ago"
        remedy = "wait, name another --work-dir, or --take-over once that run is surely gone"
        return cls(f"the run is held by {owner or Owner.unknown()}{seen}", folder, remedy, owner)

    @classmethod
    def lost(cls, folder: Path, owner: Owner | None) -> RunLocked:
        """To whom had it."""
        who = f"was taken over by {owner}" if owner else "is gone: its lock file was removed"
        remedy = "leave it to that run" if owner else "if no other run writes there, go on with --resume"
        return cls(f"this run's folder {who}; nothing more is written", folder, remedy, owner)


def _boot() -> str:
    """Another text after each restart of the machine, empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"
