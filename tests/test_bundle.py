"""The bundle: what goes in, and an installation from it with the network cut, on a project with two tiny packages."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agentlab import assets, bootstrap, bundle, install_bundle, notebooks
from agentlab.errors import AgentLabError

BACKEND = """
import os, zipfile
INFO = "tinycourse-1.0.dist-info/"

def _write(folder, files):
    name = "tinycourse-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name

def build_editable(folder, config_settings=None, metadata_directory=None):
    return _write(folder, {
        "tinycourse.pth": os.getcwd(),
        INFO + "METADATA": "Metadata-Version: 2.1\\nName: tinycourse\\nVersion: 1.0\\n",
        INFO + "WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        INFO + "RECORD": "",
    })
"""
PROJECT = {
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "backend.py": BACKEND,
    "requirements.lock": "tinything==1.0\n",
    "models.lock": "tinymodel==0.1\n",
    ".gitignore": ".venv/\nout/\n__pycache__/\n",
    "notebooks/00_first.ipynb": "{}",
    "out/left over.txt": "not for others",
    "my env/pyvenv.cfg": "",
    ".git/config": "",
    "agentlab/__init__.py": "",
    "agentlab/assets.py": "import os\nfrom pathlib import Path\n\ndef cache_folder():\n    return Path(os.environ['AGENTLAB_CACHE'])\n",
    "agentlab/cli.py": "import sys, tinything, tinymodel\nprint('doctor:', tinything.__file__, sys.argv[1])\n",
}


def write_wheel(folder, name, version):
    """A wheel with one empty module, as a package index would hold it."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": b"",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for path, data in files.items()
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, data in [*files.items(), (f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode())]:
            wheel.writestr(path, data)


@pytest.fixture
def project(tmp_path, monkeypatch, private_cache):
    """A small course with an index of its own and one model in the cache."""
    root = tmp_path / "project"
    for name, text in PROJECT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(bootstrap.__file__, root / "agentlab" / "bootstrap.py")
    index = tmp_path / "index"
    index.mkdir()
    write_wheel(index, "tinything", "1.0")
    write_wheel(index, "tinymodel", "0.1")
    for name in ("smollm2-abc", "understander-def", "vectors-ghi"):
        (private_cache / name).mkdir(parents=True)
        (private_cache / name / "weights").write_text(name)
    monkeypatch.setattr(notebooks, "ROOT", root)
    monkeypatch.setattr(assets, "language_model_folder", lambda: None)
    monkeypatch.setattr(assets, "load_tagger", lambda: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", index.as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return root


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_bundle_holds_packages_course_and_models(project, tmp_path):
    size = bundle.make_bundle(tmp_path / "b", say=lambda text: None)
    assert names(tmp_path / "b" / "wheels") == ["tinymodel-0.1-py3-none-any.whl", "tinything-1.0-py3-none-any.whl"]
    left_out = {"out/left over.txt", "my env/pyvenv.cfg", ".git/config"}
    assert names(tmp_path / "b" / "course") == sorted(PROJECT.keys() - left_out | {"agentlab/bootstrap.py"})
    assert names(tmp_path / "b" / "models") == ["smollm2-abc/weights"]
    manifest = install_bundle.read_manifest(tmp_path / "b")
    assert sorted(manifest["files"]) == [n for n in names(tmp_path / "b") if n != "manifest.json"]
    assert size == sum((tmp_path / "b" / n).stat().st_size for n in manifest["files"])
    assert manifest["python"] == "{}.{}".format(*sys.version_info[:2])


def test_trained_models_go_in_on_demand_and_an_old_bundle_is_made_anew(project, tmp_path):
    bundle.make_bundle(tmp_path / "b", say=lambda text: None)
    (tmp_path / "b" / "course" / "old.txt").write_text("")
    bundle.make_bundle(tmp_path / "b", trained=True, say=lambda text: None)
    assert names(tmp_path / "b" / "models") == ["smollm2-abc/weights", "understander-def/weights"]
    assert not (tmp_path / "b" / "course" / "old.txt").exists()


def test_a_bundle_inside_the_checkout_does_not_hold_itself(project):
    bundle.make_bundle(project / "for the class", say=lambda text: None)
    assert not (project / "for the class" / "course" / "for the class").exists()


def test_folders_with_other_files_are_left_alone(project, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("precious")
    with pytest.raises(AgentLabError, match="holds other files"):
        bundle.make_bundle(tmp_path / "b")
    assert (tmp_path / "b" / "mine.txt").read_text() == "precious"
    shutil.copy(project / "pyproject.toml", tmp_path / install_bundle.MANIFEST)
    with pytest.raises(AgentLabError, match="contains the course itself"):
        bundle.make_bundle(tmp_path)
    assert (project / "pyproject.toml").is_file()


def test_a_package_that_is_not_to_be_had_is_said(project, tmp_path):
    (project / "requirements.lock").write_text("tinything==9.9\n")
    with pytest.raises(AgentLabError, match="a pinned package is not offered for this Python"):
        bundle.make_bundle(tmp_path / "b", say=lambda text: None)


def test_what_builds_the_course_is_collected_too(project, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(bundle, "_pip_wheel", lambda wheels, arguments: asked.append(arguments))
    bundle.collect_wheels(Path(bundle.__file__).parent.parent, tmp_path)
    assert asked[0][0] == "-r"
    assert asked[1][:2] == ["--no-deps", "-r"]
    assert asked[2][2:] == ["hatchling", "editables"]


# --- installing ---


def cut_off():
    """A prefix under which a program has no network at all, not even loopback; empty where that cannot be had."""
    prefix = ["unshare", "-n"]
    able = shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    return prefix if able else []


def install(folder, *arguments):
    """Run install.py as a learner would: without a network, and with none of this machine's settings for pip."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [*cut_off(), sys.executable, str(folder / "install.py"), *map(str, arguments)],
        capture_output=True, text=True, timeout=300, env=kept,
    )  # fmt: skip


@pytest.mark.slow
def test_it_installs_without_a_network_twice_and_keeps_notebooks(project, tmp_path, monkeypatch):
    folder, target, cache = tmp_path / "my stick", tmp_path / "the course", tmp_path / "their cache"
    bundle.make_bundle(folder, say=lambda text: None)
    cache.mkdir()
    monkeypatch.setenv("AGENTLAB_CACHE", str(cache))
    first = install(folder, target)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"doctor: {target}" in first.stdout, "the packages should come from the new environment"
    assert names(cache) == ["smollm2-abc/weights"]
    (target / "notebooks" / "00_first.ipynb").write_text("my answers")
    (cache / "smollm2-abc" / "weights").write_text("theirs")
    again = install(folder, target)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "its files stay as they are" in again.stdout
    assert "Set-up" not in again.stdout
    assert (target / "notebooks" / "00_first.ipynb").read_text() == "my answers"
    assert (cache / "smollm2-abc" / "weights").read_text() == "theirs"


@pytest.fixture
def made(project, tmp_path):
    bundle.make_bundle(tmp_path / "b", say=lambda text: None)
    return tmp_path / "b"


def test_a_damaged_bundle_is_found_before_anything_is_made(made, tmp_path):
    with open(made / "wheels" / "tinything-1.0-py3-none-any.whl", "ab") as file:
        file.write(b"x")
    result = install(made, tmp_path / "course")
    assert result.returncode == 1
    assert "tinything-1.0-py3-none-any.whl is missing or damaged. Copy the whole bundle again." in result.stderr
    assert not (tmp_path / "course").exists()


def test_a_folder_of_somebody_else_is_left_alone(made, tmp_path):
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "mine.txt").write_text("precious")
    result = install(made, tmp_path / "course")
    assert result.returncode == 1
    assert "holds other files. Name another folder" in result.stderr
    assert names(tmp_path / "course") == ["mine.txt"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"machine": "quantum"}, "Make one on a machine of this kind"),
        ({"python": "3.99"}, "Install Python 3.99, or call this with it"),
        (None, "cannot be read"),
    ],
)
def test_the_wrong_machine_or_python_is_said(made, tmp_path, changed, said):
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps({**manifest, **changed}) if changed else "{")
    result = install(made, tmp_path / "course")
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
