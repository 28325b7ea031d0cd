"""Install the course on Colab or Kaggle, beside what is there: ``python agentlab-course/agentlab/install_colab.py``.

The set-up cell of each notebook calls this. Hosted notebooks come with their own torch, numpy and the rest, built for
their machines; pip may add what is missing and must not touch those. What the course needs only to run notebooks on
your own machine is left out. Standard library only, but for `packaging`, which is with every pip.
"""

import subprocess
import sys
import tempfile
import tomllib
from importlib import invalidate_caches, metadata
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
except ImportError:
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.utils import canonicalize_name

COURSE = Path(__file__).resolve().parent.parent
# A hosted notebook has its own kernel and page; another version of these would break it.
AT_HOME = ("ipykernel", "jupyterlab", "jupytext", "nbclient", "nbformat", "papermill", "voila")
# Built for the machine, or imported already when the set-up cell runs.
KEEP = (
    "ipykernel", "ipython", "ipywidgets", "jupyter-client", "matplotlib", "numpy", "pandas", "pillow", "protobuf", "pyzmq",
    "scikit-learn", "scipy", "torch", "torchaudio", "torchvision", "tornado", "traitlets", "transformers",
)  # fmt: skip
NEVER_REPLACED = ("numpy", "torch")


def needed(course=COURSE):
    """What the course asks for, without what only your own machine needs: a list of requirements."""
    project = tomllib.loads((course / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [Requirement(text) for text in project["dependencies"]]
    return [r for r in requirements if canonicalize_name(r.name) not in AT_HOME]


def installed():
    """``{name: version}`` of every package that is here."""
    invalidate_caches()
    return {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions() if d.metadata["Name"]}


def constraints(requirements, here):
    """``{name: version}`` of what pip must leave alone; raises SystemExit where torch or numpy are too old for the course.

    >>> constraints([Requirement("numpy>=1.26"), Requirement("ipywidgets>=8")], {"numpy": "2.0.2", "ipywidgets": "7.7.1"})
    {'numpy': '2.0.2'}
    """
    kept = {name: here[name] for name in KEEP if name in here}
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name in kept and not requirement.specifier.contains(kept[name], prereleases=True):
            if name in NEVER_REPLACED:
                raise SystemExit(
                    f"{name} {kept[name]} is here, and the course needs {requirement}. Choose a newer runtime, then run this cell again."
                )
            del kept[name]
    return kept


def install(course=COURSE, run=subprocess.run):
    """Install what is missing, the course itself and its models; returns a sentence that says what was done."""
    requirements, before = needed(course), installed()
    kept = constraints(requirements, before)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-warn-conflicts"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in kept.items()), encoding="utf-8")
        for arguments in (
            ["-c", str(file), *map(str, requirements)],
            ["--no-deps", str(course)],
            ["--no-deps", "-r", str(course / "models.lock")],
        ):
            if run([*pip, *arguments]).returncode:
                raise SystemExit(
                    "pip could not install the course; it says why above. Run this cell again when that is cured."
                )
    after = installed()
    changed = [
        f"{name} {before[name]} to {after[name]}" for name in before if after.get(name, before[name]) != before[name]
    ]
    stays = " and ".join(f"{name} {after[name]}" for name in ("torch", "numpy") if name in after)
    added = len(set(after) - set(before))
    said = f"The course is installed. Packages added: {added}. {stays} stayed as they were."
    return said + (f" Changed: {', '.join(changed)}." if changed else "")


if __name__ == "__main__":
    print(install())
