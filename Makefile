# make demo: set up in .venv, tune a small model (or replay its recordings where there is no GPU), export, report.
# make test: set up in .venv, lint, type-check code and tests, test.
# make docs: set up in .venv, build the site of docs/ into site/; a warning is an error.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DEMO := demo
export AUTOTUNE_STORAGE ?= sqlite:///$(DEMO)/autotune.db

# The environment above is this file's own, and hundreds of processes load what is in it: each module is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test docs lint clean

# torch goes first and by its exact pin: asked for by a range, a machine without a GPU would get gigabytes of CUDA. Python
# compiles what it imports; compiling all that is installed takes a minute.
$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check "torch==2.13.0"
	$(PY) -m pip install --quiet --no-compile --disable-pip-version-check --editable ".[dashboard,docs,plot,test]"
	touch $@

demo: $(VENV)/ready
	rm -rf $(DEMO) && mkdir $(DEMO)
	$(PY) -m autotune tune --model Qwen3-Embedding-0.6B --runtime sglang --lora-rank 64 --max-loras 1 \
		--chunk-sizes 16 --dtype float16 --save-json-dir $(DEMO)/tuned
	$(PY) -m autotune study report --html $(DEMO)/report.html
	$(PY) -m autotune study report
	@echo "Watch the studies: $(PY) -m autotune dashboard --storage $(AUTOTUNE_STORAGE)"

test: lint
	$(PY) -m pytest -n 2 --dist worksteal

docs: $(VENV)/ready
	$(PY) -m sphinx --quiet --fail-on-warning --keep-going -b html docs site
	@echo "Open site/index.html"

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy autotune docs tests

clean:
	rm -rf $(VENV) $(DEMO) site
