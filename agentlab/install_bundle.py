"""Install the course from this folder, without a network: ``python install.py [FOLDER]``.

FOLDER is where the course shall lie, ``agentlab-course`` in your home folder if you name none. A second call repairs what
a first one left half done, and leaves notebooks as they are. Standard library only; no file outside FOLDER and the
course's own cache is touched.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

MANIFEST = "manifest.json"
HOME = Path.home() / "agentlab-course"


class InstallError(Exception):
    """What stopped the installation, and what to do."""


def read_manifest(bundle):
    """What the bundle says of itself: ``{course, python, system, machine, files: {path: sha256}}``."""
    try:
        return json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InstallError(f"{bundle / MANIFEST} cannot be read ({error}). Copy the whole bundle again.") from None


def find_python(manifest):
    """A Python of the version whose packages the bundle holds; raises where machine or version do not fit."""
    here = platform.system(), platform.machine()
    if here != (manifest["system"], manifest["machine"]):
        raise InstallError(
            "This bundle is for {system} on {machine}; this machine is {} on {}. Make one on a machine of this kind.".format(
                *here, **manifest
            )
        )
    if manifest["python"] == "{}.{}".format(*sys.version_info[:2]):
        return sys.executable
    if other := shutil.which(f"python{manifest['python']}"):
        return other
    raise InstallError(
        "The packages here are for Python {python}; this is {}.{}. Install Python {python}, or call this with it.".format(
            *sys.version_info[:2], **manifest
        )
    )


def check_files(bundle, manifest):
    """Compare every file with its sha256; a stick that was pulled too early is found here."""
    for name, expected in manifest["files"].items():
        try:
            with open(bundle / name, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            found = ""
        if found != expected:
            raise InstallError(f"{bundle / name} is missing or damaged. Copy the whole bundle again.")


def copy_course(bundle, target):
    """Put the course into its folder, unless it is there already: notebooks that were changed stay."""
    if (target / "agentlab" / "bootstrap.py").is_file():
        print(f"The course is in {target} already; its files stay as they are.", flush=True)
        return
    if target.exists() and any(target.iterdir()):
        raise InstallError(f"{target} holds other files. Name another folder: python {Path(__file__).name} FOLDER")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(bundle / "course", part)
    if target.exists():
        target.rmdir()
    part.rename(target)


def copy_models(bundle, cache):
    """Put the unpacked models into the course's cache, each in one step; those that are there stay."""
    for model in sorted((bundle / "models").iterdir()):
        if not (cache / model.name).exists():
            part = cache / f".{model.name}.bundle"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(model, part)
            part.rename(cache / model.name)


def install(bundle, target):
    """Check the bundle, copy the course, make its environment from the bundle's packages, copy the models.

    Returns the exit code.
    """
    manifest = read_manifest(bundle)
    python = find_python(manifest)
    if python != sys.executable:
        return subprocess.call([python, __file__, str(target)])
    print("Checking the bundle ...", flush=True)
    check_files(bundle, manifest)
    copy_course(bundle, target)
    offline = {
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (bundle / "wheels").as_uri(), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1",
        "AGENTLAB_VENV": ".venv",
    }  # fmt: skip
    if subprocess.call([python, str(target / "agentlab" / "bootstrap.py")], env={**os.environ, **offline}):
        raise InstallError("The set-up did not finish; its last lines above say why. Mend that, then call this again.")
    programs = target / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    own = str(programs / ("python.exe" if os.name == "nt" else "python"))
    where = [own, "-c", "from agentlab.assets import cache_folder; print(cache_folder())"]
    copy_models(bundle, Path(subprocess.check_output(where, cwd=target, text=True).strip()))
    if subprocess.call([own, "-m", "agentlab.cli", "doctor"], cwd=target):
        raise InstallError("The course is installed, but the checks above found something BAD.")
    print(f"Done: agentlab {manifest['course']} in {target}. Begin with: {programs / 'agentlab'} lab")
    return 0


def main(arguments):
    """Returns the exit code."""
    try:
        return install(Path(__file__).resolve().parent, Path(arguments[0] if arguments else HOME).absolute())
    except (InstallError, OSError, subprocess.CalledProcessError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Call this again to go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
