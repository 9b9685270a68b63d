# `make demo` and `make test` set up all they need. TORCH=cpu|cuda chooses the torch build (default: cuda where nvidia-smi answers).
PYTHON := .venv/bin/python
QGIS_PYTHON := .venv-qgis/bin/python
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock"

# What a person's shell or Debian sets for the system's Python must not reach the environments.
unexport PYTHONPATH PYTHONHOME

.PHONY: help demo test test-core test-qgis check format package bench bench-full bench-networks compat train-bundles lock clean

help:
	@sed -nE 's/^## ?//p' $(MAKEFILE_LIST)

## make demo           a synthetic season, mapped by `qgis_process run cropmap:mapcrops`, with a picture: demo/
demo:
	@scripts/setup qgis
	@scripts/setup worker
	@$(PYTHON) -m scripts.demo

## make test           both halves of the tests: the worker's library, then the plugin inside a real QGIS
test:
	@scripts/setup dev
	@status=0; \
	$(MAKE) --no-print-directory test-core || status=1; \
	$(MAKE) --no-print-directory test-qgis || status=1; \
	exit $$status

test-core:
	$(PYTHON) -m pytest tests/core

test-qgis:
	QT_QPA_PLATFORM=offscreen $(QGIS_PYTHON) -m pytest tests/qgis

## make check          ruff, mypy, import-linter and the flake8-qgis rules
check:
	@scripts/setup dev
	@status=0; \
	$(PYTHON) -m ruff check . || status=1; \
	$(PYTHON) -m ruff format --check . || status=1; \
	$(PYTHON) -m mypy || status=1; \
	$(PYTHON) scripts/check_imports.py || status=1; \
	$(PYTHON) -m flake8 --select QGS --extend-ignore QGS202 __init__.py plugin.py processing_provider algorithms || status=1; \
	exit $$status
# QGS202 wants a check of addParameter's result, which QGIS's own algorithms do not make.

## make format         what ruff can put right by itself
format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

## make package        dist/cropmap-VERSION.zip, the plugin to install
package:
	@python3 scripts/package.py

## make bench          side-by-side measurements, printed as ratios; their data stays in CROPMAP_BENCH
bench:
	@scripts/setup dev
	@for name in composite_and_fill indices map_crops stack_scenes whole_chain inference_networks inference_patches inference_trees inference_engine; do $(PYTHON) -m benchmarks.$$name || exit 1; done

## make bench-full     the measurements that take OpenJPEG or a whole season: tens of minutes and GB
bench-full:
	@scripts/setup worker
	@$(PYTHON) -m benchmarks.stack_scenes --full
	@$(PYTHON) -m benchmarks.whole_chain --full

## make bench-networks every architecture trained, judged and timed from CROPMAP_DATA, as a table: hours; goes on where it was stopped
bench-networks:
	@scripts/setup dev
	@for part in pixels parcels speed table; do $(PYTHON) -m benchmarks.networks $$part || exit 1; done

## make compat         the same QGIS tests under QGIS 3.44
compat:
	@scripts/setup dev
	@scripts/compat

## make train-bundles  trains, judges and describes the bundled models from CROPMAP_DATA; a better one stays unless FORCE=1: hours
train-bundles:
	@scripts/setup worker
	@$(PYTHON) -m scripts.train_bundles

## make lock           writes the locked requirements again (needs uv)
lock:
	$(LOCK) --overrides processing_provider/runtime/overrides.txt processing_provider/runtime/requirements.in -o processing_provider/runtime/requirements.txt
	$(LOCK) scripts/requirements-dev.in -o scripts/requirements-dev.txt
	$(LOCK) scripts/requirements-qgis-tests.in -o scripts/requirements-qgis-tests.txt
	$(LOCK) scripts/requirements-stac-tests.in -o scripts/requirements-stac-tests.txt

clean:
	rm -rf demo dist
