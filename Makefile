# Every target sets up what it needs: .venv with the pinned packages and the pretrained models.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Threads that spin while they wait cost several times the time as soon as anything else runs.
export OMP_WAIT_POLICY ?= passive

.PHONY: course lab demo test notebooks bench bundle site slides setup lock clean

setup:
	@AGENTLAB_VENV=$(VENV) $(PYTHON) agentlab/bootstrap.py

course: setup
	@$(BIN)/agentlab course

lab: setup
	@$(BIN)/agentlab lab

demo: setup
	@$(BIN)/agentlab demo

test: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python -m pytest -n 2 --dist worksteal

notebooks: setup
	@$(BIN)/python -m agentlab.notebooks

bench: setup
	@$(BIN)/python -m benchmarks

# Everything that an installation without a network needs, in one folder: make bundle FOLDER=/media/stick
FOLDER ?= out/bundle
bundle: setup
	@$(BIN)/agentlab bundle $(FOLDER)

site: setup
	@$(BIN)/agentlab site

slides: setup
	@$(BIN)/agentlab slides

# The lock is what a fresh resolution of pyproject.toml gives: a throw-away environment, frozen.
lock:
	@AGENTLAB_VENV=$(VENV) $(PYTHON) agentlab/bootstrap.py --lock

clean:
	rm -rf $(VENV) out
