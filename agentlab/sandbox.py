"""A closed room for programs that nobody has read: bubblewrap, on Linux.

Inside there are the system's programs, this Python, the course, all read-only; an empty ``/tmp`` of limited size; no
network, no home folders, no other process. Nothing that runs inside can change a file outside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu", "etc/ld.so.cache", "etc/alternatives")
CHOICES = ("AGENTLAB_ENCODER", "AGENTLAB_LLM", "AGENTLAB_SPACY")
PASSED_ON = ("OMP_", "OPENBLAS_", "MKL_", "KMP_", "LC_", "LANG", *CHOICES)  # environment variables, by how they begin
TMP_MB, SHARED_MB = 256, 64
CACHE = "/tmp/cache"
UNPROTECTED = (
    "Without it, what learners hand in runs as you: it can read, change and delete your files, leave programs behind, use the "
    "network and look at the other submissions. Only the time limits hold{}."
)


def missing() -> str:
    """Why programs cannot be locked in on this machine, and what cures it; nothing if they can."""
    if sys.platform != "linux":
        return f"Bubblewrap exists for Linux only (here: {sys.platform}); a virtual machine with Linux would do."
    if not shutil.which("bwrap"):
        return "Bubblewrap (`bwrap`) is not on this machine; `apt install bubblewrap` or `dnf install bubblewrap` brings it."
    tried = subprocess.run(wrap(["true"]), capture_output=True, text=True, timeout=60)
    if tried.returncode:
        return f"Bubblewrap is here but cannot make a sandbox (0.8 or newer, and user namespaces, are needed): {tried.stderr.strip()[:200]}"
    return ""


def unprotected_risks() -> str:
    """What stays open to a submission that runs without a sandbox on this machine."""
    return UNPROTECTED.format(", and the memory limit for each process" if sys.platform == "linux" else "")


def wrap(command: Sequence[str]) -> list[str]:
    """The command line that runs a command inside the sandbox."""
    options = "--unshare-all --unshare-user --disable-userns --cap-drop ALL --die-with-parent --new-session --clearenv".split()
    for entry in SYSTEM:
        path = Path("/") / entry
        if path.is_symlink():
            options += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            options += ["--ro-bind", str(path), str(path)]
    options += ["--proc", "/proc", "--dev", "/dev", "--size", str(SHARED_MB << 20), "--tmpfs", "/dev/shm"]
    options += ["--size", str(TMP_MB << 20), "--tmpfs", "/tmp"]
    for path in _needed():
        options += ["--ro-bind", path, path]
    for folder in _cached():
        options += ["--ro-bind", str(folder), f"{CACHE}/{folder.name}"]
    for mount in ("/proc", "/dev", "/"):  # a root user's sandbox could else write to /proc/sys
        options += ["--remount-ro", mount]
    options += ["--chdir", "/tmp"]
    for name, value in environment().items():
        options += ["--setenv", name, value]
    return [shutil.which("bwrap") or "bwrap", *options, "--", *command]


def environment(unprotected_in: str = "") -> dict[str, str]:
    """The environment variables of a submission's process: what libraries need, nothing of the user's own.

    Without a sandbox it works in the folder ``unprotected_in`` and finds the user's cache, as it must.
    """
    kept = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON) and value}
    kept |= {"HOME": "/tmp", "TMPDIR": "/tmp", "PATH": "/usr/bin:/bin", "AGENTLAB_CACHE": CACHE}
    if unprotected_in:
        kept |= {
            name: os.environ[name] for name in ("HOME", "PATH", "SYSTEMROOT", "LOCALAPPDATA") if name in os.environ
        }
        kept |= {"TMPDIR": unprotected_in, "TEMP": unprotected_in, "AGENTLAB_CACHE": str(_cache())}
    return kept | {
        "USER": "learner", "PYTHONPATH": str(_package().parent), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1",
        "AGENTLAB_HEADLESS": "1", "AGENTLAB_PROGRESS": os.devnull, "AGENTLAB_DATA": str(_data()), "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def _package() -> Path:
    return Path(__file__).resolve().parent


def _data() -> Path:
    from agentlab.corpus import data_folder

    return Path(data_folder()).resolve()


def _needed() -> list[str]:
    """Folders outside the system's own that Python and the course read, outer before inner."""
    chosen = [os.environ.get(name, "") for name in CHOICES]
    packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    paths = [sys.prefix, sys.base_prefix, *packages, str(_data()), *(p for p in chosen if os.path.isabs(p))]
    real = {str(_package()), *map(os.path.abspath, paths), *map(os.path.realpath, paths)}
    outside = (p for p in real if not p.startswith(("/usr/", "/nix/", "/gnu/")) or p.startswith("/usr/local/"))
    return sorted(filter(os.path.exists, outside))


def _cache() -> Path:
    from agentlab.assets import cache_folder

    return cache_folder()


def _cached() -> Iterator[Path]:
    """What the course has built in its cache, such as the unpacked language model."""
    yield from (folder for folder in sorted(_cache().iterdir()) if folder.is_dir() and folder.name[0] != ".")
