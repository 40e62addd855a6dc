# make demo: set up in .venv, tune two real shapes (or replay their recordings where there is no GPU).
# make test: set up in .venv, lint, type-check, test.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DEMO := demo
export AUTOTUNE_STORAGE ?= sqlite:///$(DEMO)/autotune.db

.PHONY: demo test lint clean

# torch goes first and by its exact pin: asked for by a range, a machine without a GPU would get gigabytes of CUDA.
$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(PY) -m pip install --quiet --disable-pip-version-check --editable ".[dashboard,plot,test]"
	touch $@

demo: $(VENV)/ready
	rm -rf $(DEMO) && mkdir $(DEMO)
	$(PY) -m autotune study create --op-type lora_shrink --batch-size 8192 --hidden-size 8192 --lora-rank 64 \
		--num-loras 8 --num-slices 2
	$(PY) -m autotune study create --op-type lora_expand --batch-size 16 --hidden-size 5120 --lora-rank 16 --num-loras 4
	$(PY) -m autotune study run
	$(PY) -m autotune study export --dir $(DEMO)/tuned
	@echo "Watch the studies: $(PY) -m autotune dashboard --storage $(AUTOTUNE_STORAGE)"

test: lint
	$(PY) -m pytest -n 2

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy autotune

clean:
	rm -rf $(VENV) $(DEMO)
