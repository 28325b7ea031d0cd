"""What this machine is: cores, memory, accelerator, number type; how fast it multiplies matrices."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """A machine as the course sees it; sizes in GiB."""

    system: str
    python: str
    cores: int
    memory_gib: float
    free_disk_gib: float
    device: str
    device_memory_gib: float | None
    dtype: str

    def as_dict(self) -> dict:
        return asdict(self)


def best_device():
    """The torch device to train on: CUDA if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_dtype(device=None):
    """bfloat16 where the device computes it faster than float32, float16 on older GPUs, else float32.

    A CPU is asked by a product of matrices, not by its list of features: some that name bfloat16 take twice as long for it.
    """
    import torch

    device = device or best_device()
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if bfloat16_gain() > 1.2 else torch.float32


@lru_cache(maxsize=1)
def bfloat16_gain(repeats: int = 20) -> float:
    """How many times faster this CPU multiplies matrices of the encoder's size in bfloat16 than in float32."""
    import torch

    best = {torch.float32: math.inf, torch.bfloat16: math.inf}  # seconds
    pairs = {dtype: (torch.ones(128, 384, dtype=dtype), torch.ones(1536, 384, dtype=dtype)) for dtype in best}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two would wait for each other where others compute as well
    try:
        for number in range(repeats + 1):
            for dtype, (x, w) in pairs.items():  # by turns, so that a noisy moment meets both
                began = time.perf_counter()
                torch.nn.functional.linear(x, w)
                if number:  # the first call sets things up
                    best[dtype] = min(best[dtype], time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return best[torch.float32] / best[torch.bfloat16]


def inspect_machine(folder: str | Path = ".") -> Machine:
    """Read this machine's properties; the free disk is that of ``folder``."""
    import psutil
    import torch

    device, name, memory = best_device(), platform.processor() or platform.machine(), None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, round(properties.total_memory / 2**30, 1)
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        python=".".join(map(str, sys.version_info[:3])),
        cores=usable_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        free_disk_gib=round(shutil.disk_usage(folder).free / 2**30, 1),
        device=f"{device.type} ({name})",
        device_memory_gib=memory,
        dtype=str(training_dtype(device)).removeprefix("torch."),
    )


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def matrix_gflops(seconds: float = 1.0, n: int = 512, dtype: str = "float32") -> float:
    """Measure this device for about ``seconds``: products of n by n matrices, in 10^9 operations per second.

    The best of the rounds counts, since other programs may be running.
    """
    import torch

    device = best_device()
    a, b = (torch.rand(n, n, device=device).to(getattr(torch, dtype)) for _ in range(2))
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(5):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 5 * 2 * n**3 / (time.perf_counter() - start) / 1e9)
    return best


def release_memory() -> None:
    """Give back what is free but still held: by Python's cycles, by CUDA's cache, by the C library's allocator.

    After a training on a CPU glibc keeps several hundred MB of freed blocks; a notebook with ten trainings feels that.
    """
    import ctypes
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim:
            trim(0)
