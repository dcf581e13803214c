"""The numeric tests under several kernels of one machine: `python tests/kernels.py [VARIANT ...]`.

Libraries choose their kernels by the processor, and round differently with each. What passes under one
only was decided by rounding. Each variant prints the kernels that really ran, then pytest's last line.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("geometry", "ops", "regions", "contrast", "objectives", "models", "data", "evaluation")
# Training from end to end, network hubs, file formats: minutes, and no decision that rounding could turn.
LEFT_OUT = (
    "evaluation/test_evaluation_study.py",
    "evaluation/test_evaluation_label_efficiency.py",
    "data/test_data_fuzz.py",
    "data/test_data_index_integrity.py",
    "data/test_data_survey.py",
    "data/test_data_survey_content.py",
    "data/test_data_tables.py",
    "data/test_data_reader*.py",
    "data/test_data_point_*.py",
    "data/test_data_verify*.py",
    "data/test_data_own_way.py",
    "data/test_data_plain_files.py",
    "data/test_data_drive_splits.py",
    "data/test_data_classes.py",
    "evaluation/own/test_evaluation_own_wiring.py",
    "evaluation/own/test_evaluation_own_real.py",
    "models/test_models_weights_file.py",
)
# A processor of 2008: NumPy's own loops without AVX, oneMKL with one branch for all.
_NUMPY = "AVX F16C FMA3 AVX2 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
_OLD = {
    "OPENBLAS_CORETYPE": "Nehalem",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "NUMBA_CPU_NAME": "generic",
    "NPY_DISABLE_CPU_FEATURES": _NUMPY,
    "MKL_CBWR": "COMPATIBLE",
}
VARIANTS: dict[str, dict[str, str]] = {
    "openblas-skylakex": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "openblas-haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "openblas-nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "aten-default": {"ATEN_CPU_CAPABILITY": "default"},
    "onednn-sse41": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "onednn-avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "numba-generic": {"NUMBA_CPU_NAME": "generic"},
    "numpy-baseline": {"NPY_DISABLE_CPU_FEATURES": _NUMPY, "MKL_CBWR": "COMPATIBLE"},
    "all-old": _OLD,
}
# What the processor must have for a variant, as Linux names it.
NEEDS = {
    "openblas-skylakex": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "openblas-haswell": {"avx2", "fma"},
    "onednn-avx2": {"avx2"},
}
PROBE = """
import re, threadpoolctl, numpy, scipy.linalg, torch
from numba.core import registry
from numpy.core._multiarray_umath import __cpu_features__ as features
for found in threadpoolctl.threadpool_info():
    if found["internal_api"] == "openblas":
        package = re.search(r"(numpy|scipy)", found["filepath"].rsplit("site-packages", 1)[-1])
        print("OpenBLAS of", package and package[1], found["architecture"])
print("ATen", torch.backends.cpu.get_cpu_capability())
print("numba", registry.cpu_target.target_context.codegen().magic_tuple()[1])
print("NumPy", next((name for name in ("AVX512_SKX", "AVX2", "SSE42") if features[name]), "baseline"))
x = torch.rand(2, 16, 32, 32)
torch.nn.functional.conv2d(x, torch.rand(16, 16, 3, 3))
torch.rand(64, 64) @ torch.rand(64, 64)
"""


def environment(variant: str) -> dict[str, str]:
    """The process's, without what chooses kernels, with what the variant sets."""
    chosen = {name for settings in VARIANTS.values() for name in settings}
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    one = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "EGL_PLATFORM": "surfaceless"}
    settings = VARIANTS[variant]
    if target := settings.get("NUMBA_CPU_NAME"):
        # A compiler cache of its own: what was compiled for this processor is not taken.
        one["NUMBA_CACHE_DIR"] = str(REPOSITORY / "build" / "kernels" / f"numba-{target}")
    return {**kept, **one, **settings}


def kernels_of(variant: str) -> str:
    """What runs under a variant, as the libraries say it themselves."""
    verbose = {"ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**environment(variant), **verbose},
        capture_output=True,
        text=True,
        check=True,
    )
    said = []
    for line in run.stdout.splitlines():
        if line.startswith("MKL_VERBOSE oneMKL"):
            said.append("oneMKL " + line.split("for Intel(R) 64 architecture ")[-1].split(" processors")[0])
        elif line.startswith("MKL_VERBOSE") and "CNR:" in line:
            said.append("oneMKL " + line.split("CNR:")[1].split()[0])
        elif "info,cpu,isa:" in line:
            said.append("oneDNN " + line.split("isa:")[1])
        elif line.split(" ")[0] in ("OpenBLAS", "ATen", "numba", "NumPy"):
            said.append(line)
    return "; ".join(dict.fromkeys(said))


def lacking(variant: str) -> set[str]:
    """Features that the variant needs and the processor does not have."""
    flags = Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()
    return NEEDS.get(variant, set()) - set(flags)


def run_tests(variant: str, arguments: list[str]) -> tuple[int, str]:
    """pytest's exit code and last line, of the numeric tests under a variant."""
    tests = [f"tests/{room}" for room in ROOMS]
    left_out = [f"--ignore-glob={REPOSITORY}/tests/{file}" for file in LEFT_OUT]
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, *left_out, *(arguments or tests)],
        cwd=REPOSITORY,
        env=environment(variant),
        stdout=subprocess.PIPE,
        text=True,
    )
    if run.returncode:
        print(run.stdout)
    return run.returncode, run.stdout.strip().splitlines()[-1]


def main() -> int:
    """0 if every variant passes; those that the processor cannot run are named and left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"of {', '.join(VARIANTS)}; else all")
    parser.add_argument("--ci", action="store_true", help="two that differ most: the oldest, the newest")
    parser.add_argument("--tests", nargs="+", default=[], help="these instead of the numeric part")
    arguments = parser.parse_args()
    newest = "openblas-haswell" if lacking("openblas-skylakex") else "openblas-skylakex"
    variants = ["all-old", newest] if arguments.ci else arguments.variants or list(VARIANTS)
    failed = []
    for variant in variants:
        if unmet := lacking(variant):
            print(f"{variant}: left out, the processor has no {', '.join(sorted(unmet))}")
            continue
        print(f"{variant}: {kernels_of(variant)}", flush=True)
        begin = time.perf_counter()
        code, last = run_tests(variant, arguments.tests)
        print(f"{variant}: {last.strip('= ')} ({time.perf_counter() - begin:.0f} s)", flush=True)
        if code:
            failed.append(variant)
    if failed:
        print(f"failed under {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
