"""`tools/benchmark.py gpu`: pieces of work that are one JSON each, and a table of those that are done."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pc3d.evaluation.gpu import operations
from pc3d.evaluation.gpu.ranks import two_ranks
from pc3d.evaluation.gpu.train_steps import Steps, half_losses, measure, peak_tflops
from pc3d.storage.whole import read_json, write_bytes, write_json

PRECISIONS = ("float32", "bfloat16")
Settings = Callable[[Path], Mapping[str, Any]]


def pieces_of(
    configs: Sequence[Path],
    settings: Settings,
    device: torch.device,
    repeats: int,
    half: Path,
    half_steps: int,
) -> dict[str, Callable[[], Any]]:
    """What there is to do, by name, the quick pieces first."""
    pieces: dict[str, Callable[[], Any]] = {}
    for name in operations.NAMES:
        pieces[f"operation {name}"] = partial(_operation, name, device)
    for precision in PRECISIONS:
        pieces[f"peak {precision}"] = partial(_peak, device, precision)
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        pieces["two ranks"] = two_ranks
    for path in configs:
        for precision in PRECISIONS:
            name = f"step {path.parent.name}/{path.stem} {precision}"
            pieces[name] = partial(_step, path, settings, device, precision, repeats)
    pieces["half precision"] = partial(half_losses, half, settings(half), device, half_steps)
    return pieces


def _operation(name: str, device: torch.device) -> dict[str, Any]:
    return asdict(operations.compare(name, device))


def _peak(device: torch.device, precision: str) -> dict[str, float]:
    return {"tflops": peak_tflops(device, precision, 8192 if device.type == "cuda" else 512)}


def _step(path: Path, settings: Settings, device: torch.device, precision: str, repeats: int) -> Any:
    return measure(Steps(path, settings(path), device, precision=precision), repeats)


def run_pieces(
    pieces: Mapping[str, Callable[[], Any]],
    folder: Path,
    device: str,
    minutes: float | None = None,
    say: Callable[[str], object] = print,
) -> bool:
    """Do what is not done yet; False where time was over before.

    A piece that fails is kept with its error, and done again when it is asked for the next time.
    """
    until = None if minutes is None else time.monotonic() + 60 * minutes
    for name, work in pieces.items():
        path = folder / "pieces" / f"{name.replace('/', '_').replace(' ', '-')}.json"
        if (
            path.is_file()
            and "error" not in (known := read_json(path))["result"]
            and known["device"] == device
        ):
            continue
        if until is not None and time.monotonic() > until:
            return False
        say(name)
        try:
            result = work()
        except Exception as error:
            say(f"  failed: {error}")
            result = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        if result.get("error") == "":
            del result["error"]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"name": name, "device": device, "torch": torch.__version__, "result": result})
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True


def table(folder: Path) -> str:
    """Markdown of all pieces that are done; also written as `table.md`."""
    found = [read_json(path) for path in sorted((folder / "pieces").glob("*.json"))]
    parts = []
    for device in dict.fromkeys(piece["device"] for piece in found):
        results = {piece["name"]: piece["result"] for piece in found if piece["device"] == device}
        version = next(piece["torch"] for piece in found if piece["device"] == device)
        parts.append(f"## {device}, torch {version}\n")
        parts += [_operations(results), _steps(results), _half(results)]
        if "two ranks" in results:
            values = ", ".join(f"{key} {value:.1e}" for key, value in results["two ranks"].items())
            parts.append(f"Gradients of two ranks, largest difference: {values}\n")
    text = "\n".join(part for part in parts if part)
    write_bytes(folder / "table.md", text.encode())
    return text


def _of(results: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {name.removeprefix(f"{kind} "): r for name, r in results.items() if name.startswith(f"{kind} ")}


def _operations(results: Mapping[str, Any]) -> str:
    rows = []
    for name, result in _of(results, "operation").items():
        agreement = operations.Agreement(**{k: v for k, v in result.items() if k != "traceback"})
        shares = ["-" if v is None else f"{v:.1e}" for v in (agreement.forward, agreement.backward)]
        verdict = "equal" if agreement.good else agreement.error or "DIFFERS"
        rows.append(f"| {name} | {shares[0]} | {shares[1]} | {verdict} |")
    head = "| operation beside the CPU | forward | backward | |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n" if rows else ""


def _steps(results: Mapping[str, Any]) -> str:
    peaks, rows = _of(results, "peak"), []
    for name, result in _of(results, "step").items():
        config, _, precision = name.rpartition(" ")
        if "error" in result:
            rows.append(f"| {config} | {precision} | {result['error']} | | | | | |")
            continue
        peak = peaks.get(precision, {}).get("tflops")
        share = result["dense_tflop"] / result["seconds"] / peak if peak else None
        slow = ", ".join(f"{kernel['name'][:32]} {kernel['share']:.0%}" for kernel in result["kernels"][:3])
        memory = f"{result['peak_gib']:.1f}" if "peak_gib" in result else "-"
        cells = [config, precision, f"{result['seconds']:.3f}", f"{result['samples_per_second']:.1f}", memory]
        cells += [str(result.get("waits", "-")), "-" if share is None else f"{share:.1%}", slow]
        rows.append(f"| {' | '.join(cells)} |")
    head = (
        "| config | precision | step (s) | samples/s | peak GiB | waits | of a product's rate | slowest |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n" if rows else ""


def _half(results: Mapping[str, Any]) -> str:
    result = results.get("half precision")
    if result is None or "error" in result:
        return "" if result is None else f"Half precision: {result['error']}\n"
    rows = [
        f"| {name} | {values['losses'][0]:.4f} | {values['losses'][-1]:.4f} "
        f"| {values.get('deviation', 0.0):.2%} | {values['skipped']} |"
        for name, values in result.items()
    ]
    head = "| precision | first loss | last loss | apart from float32 | left out |\n|---|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"
