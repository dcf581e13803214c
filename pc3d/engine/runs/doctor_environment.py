"""What pc3d needs of a machine and of the packages on it, looked at one by one."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pc3d.engine.runs.doctor_cards import check_cards
from pc3d.findings import Finding, looked_at

GIGABYTE = 1e9
SHM = Path("/dev/shm")
_SHOWN = ("torch", "spconv-cu120", "spconv-cu126", "mmengine", "numba", "numpy", "open3d")


def examine_environment(folder: Path = Path(), time_limit: float = 120.0) -> list[Finding]:
    """Look at the environment.

    Args:
        folder: where runs are to be written. time_limit: seconds for what may hang.
    """
    looks: dict[str, Callable[[], Finding]] = {
        "versions": check_versions,
        "spconv": partial(check_child, "spconv", "sparse", time_limit),
        "pictures": partial(check_child, "pictures", "picture", time_limit),
        "GPU": check_gpu,
        "processors": check_processors,
        "/dev/shm": check_shared_memory,
        "compiled code": check_compiled_code,
        "disk": partial(check_disk, folder),
    }
    return [looked_at(name, look) for name, look in looks.items()]


def check_versions() -> Finding:
    """Installed packages against what pc3d's own metadata requires."""
    needed = requires("pc3d") or []
    wrong, remedies = [], []
    python = metadata("pc3d")["Requires-Python"] or ""
    if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        wrong.append(f"Python {python} ({platform.python_version()})")
    for requirement in map(Requirement, needed):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name}{requirement.specifier} ({found or 'not installed'})")
            remedies.append(f"'{requirement.name}{requirement.specifier}'")
    if wrong:
        remedy = f"pip install {' '.join(remedies)}" if remedies else "install pc3d into another Python"
        return Finding("versions", "problem", f"pc3d needs {', '.join(wrong)}", remedy)
    shown = ", ".join(f"{name} {found}" for name in _SHOWN if (found := _version(name)))
    return Finding("versions", "ok", f"Python {platform.python_version()}, {shown}, as required")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_child(name: str, check: str, time_limit: float) -> Finding:
    """Run a check of `doctor_kernels` in a process of its own."""
    state, remedy = {
        "sparse": ("problem", "install the spconv that pc3d requires; its CUDA must fit the driver's"),
        "picture": ("warning", "only three-dimensional pictures need it"),
    }[check]
    command = [sys.executable, "-m", "pc3d.engine.runs.doctor_kernels", check]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=time_limit, errors="replace")
    except subprocess.TimeoutExpired:
        return Finding(name, state, f"no answer within {time_limit:.0f} s", remedy)  # type: ignore[arg-type]
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode == 0:
        return Finding(name, "ok", done.stdout.strip().splitlines()[-1])
    end = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    text = lines[-1][:300] if lines and done.returncode > 0 else f"the process ended with {end}"
    return Finding(name, state, text, remedy)  # type: ignore[arg-type]


def check_gpu() -> Finding:
    """The GPUs that torch sees, and whether they fit; one that it does not see is worth a warning."""
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        shown = [(card.name, card.total_memory / GIGABYTE, (card.major, card.minor)) for card in cards]
        return check_cards(shown, torch.cuda.get_arch_list())
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding("GPU", "ok", "hidden by CUDA_VISIBLE_DEVICES: pc3d computes on the CPU")
    if Path("/dev/nvidia0").exists():
        what = f"there is a card, but torch {torch.__version__} cannot use it"
        return Finding("GPU", "warning", what, "install a torch that fits the driver, see nvidia-smi")
    return Finding("GPU", "ok", "none: pc3d computes on the CPU")


def check_processors() -> Finding:
    """How many processors this process may use, and OpenMP's settings."""
    allowed = _processors()
    threads, policy = os.environ.get("OMP_NUM_THREADS"), os.environ.get("OMP_WAIT_POLICY", "")
    text = f"{allowed:g}, OMP_NUM_THREADS {threads or 'not set'}, OMP_WAIT_POLICY {policy or 'not set'}"
    if threads and threads.isdigit() and int(threads) > allowed:
        return Finding("processors", "warning", text, f"set OMP_NUM_THREADS={max(int(allowed), 1)} or less")
    if policy.lower() == "active":
        remedy = "set OMP_WAIT_POLICY=PASSIVE: threads that spin take the processors from the data workers"
        return Finding("processors", "warning", text, remedy)
    return Finding("processors", "ok", text)


def _processors(limits: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Processors that the scheduler and the container leave to this process."""
    count = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limits.read_text().split()
        return min(count, int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return count


def check_shared_memory(folder: Path = SHM) -> Finding:
    """Data workers hand their batches over in shared memory."""
    remedy = "give it more (docker run --shm-size=8g), or read without workers (data.workers=0)"
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return Finding("/dev/shm", "warning", f"cannot be used: {error.strerror}", remedy)
    size, free = (blocks * found.f_frsize / GIGABYTE for blocks in (found.f_blocks, found.f_bavail))
    text = f"{free:.2f} GB of {size:.2f} GB are free"
    if free < 1.0:
        return Finding("/dev/shm", "warning", text, remedy)
    return Finding("/dev/shm", "ok", text)


def check_compiled_code() -> Finding:
    """Where numba keeps what it compiled."""
    from pc3d.storage.compiled import cache_folder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said here
        folder = cache_folder()
    if folder is None:
        what = "is kept nowhere: each process compiles its kernels for up to minutes"
        return Finding("compiled code", "warning", what, "set NUMBA_CACHE_DIR to a folder of yours")
    return Finding("compiled code", "ok", f"is kept in {folder}")


def check_disk(folder: Path) -> Finding:
    """Room for runs, and the right to write them."""
    folder = folder.resolve()
    free = shutil.disk_usage(folder).free / GIGABYTE
    text = f"{free:.1f} GB are free in {folder}"
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "work in another folder, or name a --work-dir that can be written"
        return Finding("disk", "warning", f"{folder} cannot be written", remedy)
    if free < 1.0:
        return Finding("disk", "problem", text, "make room: a checkpoint may take more")
    if free < 10.0:
        return Finding("disk", "warning", text, "make room: two checkpoints, region caches and an index")
    return Finding("disk", "ok", text)
