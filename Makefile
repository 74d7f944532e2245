# The few commands a person types. `make` alone lists them.
# The environment is .venv, made from requirements.lock (hashes checked) when it is missing or the lock has changed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TENSORFLOW := $(VENV)/.ready-tensorflow

# PYTHON=/path/to/python3.12 picks the interpreter of a new environment.
PYTHON ?=
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY)  ## a gateway and two workers on this machine, and one photograph through them; ONCE=1 stops after it
	@$(BIN)/python -m demo $(if $(ONCE),--once)

.PHONY: test
test: $(READY)  ## every test; ARGS='-k wire -x' is passed to pytest
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: lint
lint: $(READY)  ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: tensorflow
tensorflow: $(READY_TENSORFLOW)  ## adds TensorFlow to the environment: large, and only some tests and one backend want it

# One version of each package for every Python and platform; versions already in the lock stay unless UPGRADE=1.
LOCK = $(UV) pip compile setup.cfg --quiet --universal --generate-hashes --python-version 3.11 --fork-strategy fewest \
	--no-emit-index-url --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
UV = $$(command -v uv || echo $(BIN)/uv)
# An image installs a part of what the two locks hold, in the same versions, and pip takes a lock whole or not at all.
IMAGE_LOCK = $(LOCK) --constraints requirements.lock --constraints requirements-tensorflow.lock
WORKER_EXTRAS := --extra worker --extra serve --extra opencv --extra models --extra http

.PHONY: lock
lock: $(BIN)/python  ## writes the lock files anew from setup.cfg; UPGRADE=1 takes the newest versions
	command -v uv >/dev/null || test -x $(BIN)/uv || $(PIP) install --quiet uv
	$(LOCK) --extra gateway --extra worker --extra serve --extra opencv --extra models --extra http --extra bench --extra dev --output-file requirements.lock
	$(LOCK) --extra tensorflow --constraints requirements.lock --output-file requirements-tensorflow.lock
	$(IMAGE_LOCK) --extra gateway --output-file docker/gateway/requirements.lock
	$(IMAGE_LOCK) $(WORKER_EXTRAS) --output-file docker/opencv_dnn/requirements.lock
	$(IMAGE_LOCK) $(WORKER_EXTRAS) --extra tensorflow --output-file docker/tf_gpu/requirements-cpu.lock
	$(IMAGE_LOCK) $(WORKER_EXTRAS) --extra tensorflow --extra cuda --output-file docker/tf_gpu/requirements.lock
	sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(subst setup.cfg,-,$(IMAGE_LOCK)) --output-file docker/build.lock

# CONTAINER_ENGINE=docker, BASE_IMAGE=..., BUILD_ARGS='...' and IMAGES='gateway opencv_dnn' as needed; CUDA=0 leaves CUDA's
# libraries out of tf_gpu (4 GB). What comes out, and what each can be told: docs/reference/images.md
CONTAINER_ENGINE ?= $(shell command -v podman || command -v docker)
IMAGES ?= gateway opencv_dnn tf_gpu
IMAGE_gateway := edge-gateway
IMAGE_opencv_dnn := server-opencv-dnn
IMAGE_tf_gpu := server-tf-gpu
IMAGE_TAG ?= latest
CUDA ?= 1
BASE_IMAGE ?=
BUILD_ARGS ?=

.PHONY: images
images:  ## builds the container images edge-gateway, server-opencv-dnn and server-tf-gpu
	@test -n '$(CONTAINER_ENGINE)' || { echo 'make images needs podman or docker' >&2; exit 1; }
	@set -x; $(foreach image,$(IMAGES),$(CONTAINER_ENGINE) build -f docker/$(image)/Dockerfile -t $(IMAGE_$(image)):$(IMAGE_TAG) \
	    $(if $(findstring podman,$(notdir $(CONTAINER_ENGINE))),--format docker) $(BUILD_ARGS) \
	    $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) $(if $(filter tf_gpu,$(image)),--build-arg CUDA=$(CUDA)) \
	    --build-arg VERSION="$$(sed -n 's/^version = //p' setup.cfg)" \
	    --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" .;)

.PHONY: clean
clean:  ## removes the environment, the demo's keys, and what tools left behind
	rm -rf $(VENV) .demo .containers build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	        echo "making $(VENV) with $$("$$python" --version)"; exec "$$python" -m venv $(VENV); \
	    fi; \
	done; \
	echo "no Python 3.11, 3.12 or 3.13 among: $(PYTHONS). Name one with 'make PYTHON=/path/to/python ...'" >&2; exit 1

$(READY): requirements.lock setup.cfg pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(READY_TENSORFLOW): requirements-tensorflow.lock $(READY)
	$(PIP) install --quiet --require-hashes -r requirements-tensorflow.lock
	@touch $@
