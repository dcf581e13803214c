# make demo   runs the whole way on a simulated drive and writes a report
# make test   runs the quick tests
# Both set up .venv first, from pinned versions, if it is not there yet.

PYTHON ?= $(firstword $(shell command -v python3.11 python3.10 python3))
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export EGL_PLATFORM ?= surfaceless
export OMP_WAIT_POLICY ?= PASSIVE

# Open3D's shared libraries, and the Debian packages that bring them.
SYSTEM_LIBRARIES := libGL.so.1 libEGL.so.1 libX11.so.6 libgomp.so.1
SYSTEM_PACKAGES := libgl1 libegl1 libx11-6 libgomp1

.PHONY: help demo demo-real test test-long test-kernels test-triton test-real check table table-contrast benchmark install system clean

help:
	@sed -n '1,3s/^# //p' Makefile
	@echo "make demo-real DATA=FOLDER   the same on real samples (KITTI drive, nuScenes key frame)"
	@echo "make test-long               the full matrices, kills at every call and soaks"
	@echo "make test-kernels            the numeric tests under each kernel that this processor has"
	@echo "make test-triton             Triton's kernels through its interpreter"
	@echo "make check                   ruff, mypy and the layering of imports"
	@echo "make benchmark DATA=FOLDER   regions against scikit-learn, the simulator against the real frame"
	@echo "make table-contrast          each part of a contrast beside plain ones (some thirty hours on two cores, resumable)"
	@echo "make table                   the label-efficiency table of the README (six hours on two cores)"

demo: install
	$(BIN)/python tools/demo.py --work-dir work_dirs/demo

DATA ?= ../shared/data
demo-real: install
	$(BIN)/python tools/demo.py --real $(DATA) --work-dir work_dirs/demo-real

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-long: install
	$(BIN)/python -m pytest -m long -n 2 --dist loadfile $(ARGS)

# ARGS="all-old numba-generic" for some of them, ARGS=--ci for the two that differ most.
test-kernels: install
	$(BIN)/python tests/kernels.py $(ARGS)

# Triton's kernels through its interpreter; Triton (1 GB) lies in a folder of its own.
test-triton: install .venv/triton/installed
	TRITON_INTERPRET=1 PYTHONPATH=.venv/triton $(BIN)/python -m pytest tests/ops/test_ops_triton_kernels.py $(ARGS)

.venv/triton/installed:
	$(BIN)/python -m pip install --quiet --no-deps --target .venv/triton triton==3.7.1
	touch $@

# The tests with the real samples at DATA; without the folder they are skipped with a reason.
test-real: install
	PC3D_REAL_DATA=$(DATA) $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

table: install data/sim-regions/statistics.json
	$(BIN)/python tools/benchmark.py label-efficiency --jobs 2

table-contrast: install
	$(BIN)/python tools/benchmark.py evidence contrast --jobs 2 --work-dir work_dirs/contrast
	$(BIN)/python tools/benchmark.py evidence contrast_more --jobs 2 --work-dir work_dirs/contrast-more --worlds work_dirs/contrast/worlds

data/sim-regions/statistics.json:
	test -d data/sim || $(BIN)/python data_prep/simulate.py data/sim --size bench
	test -d data/sim-index || $(BIN)/python data_prep/nuscenes.py data/sim --version v1.0-sim --out data/sim-index
	$(BIN)/python data_prep/regions.py data/sim-index --out data/sim-regions --superpixels-width 448 \
	  --kinds clusters superpixels semantics

benchmark: install
	$(BIN)/python tools/benchmark.py regions --real $(DATA)
	$(BIN)/python tools/benchmark.py realism --real $(DATA)

install: system .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,teacher,odometry,patchwork,las,ros,rerun,onnx]'
	touch $@

system:
	@missing=""; for library in $(SYSTEM_LIBRARIES); do \
	  ldconfig -p | grep -q "$$library" || missing="$$missing $$library"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing ($(SYSTEM_PACKAGES))"; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends $(SYSTEM_PACKAGES) >/dev/null; \
	  else \
	    echo "Open3D needs$$missing. Install them, then run make again:"; \
	    echo "  sudo apt-get install -y $(SYSTEM_PACKAGES)"; exit 1; \
	  fi; fi

clean:
	rm -rf .venv work_dirs build *.egg-info
