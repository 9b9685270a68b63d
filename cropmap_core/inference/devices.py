"""Where a network computes: the devices there are, the memory at hand, and what a device says when it has none left."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cropmap_core.errors import JobError

DEVICES = ("auto", "cpu", "cuda", "mps")
_ASSUMED = 4 * 2**30  # bytes that are free where the system does not say
_CGROUPS = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "inactive_file"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""Of version 2 and of version 1: a container's limit, what it uses, and what of that memory.stat says is cached."""


def choose_devices(name: str) -> tuple[torch.device, ...]:
    """The devices to compute on.

    Args:
        name: `auto` (all of CUDA's where there are, else Apple's, else the processor), `cpu`, `cuda`, one of CUDA's
            such as `cuda:1`, or `mps`.

    Raises:
        JobError: It is none of these, or torch sees no such device.
    """
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and not (kind == "cuda" and number.isdigit())):
        raise JobError(f"DEVICE is '{name}'.", "Choose auto, cpu, cuda or mps.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and not (int(number) < count if number else count):
        raise JobError(
            f"DEVICE is {name}, but torch sees {f'{count} CUDA devices' if count else 'no CUDA device'}.",
            "Set DEVICE to auto or cpu, or install the runtime with TORCH=cuda on a machine with an NVIDIA GPU.",
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise JobError("DEVICE is mps, but torch sees no GPU of Apple's.", "Set DEVICE to auto or cpu.")
    if number:
        return (torch.device(name),)
    if kind in ("auto", "cuda") and count:
        return tuple(torch.device("cuda", index) for index in range(count))
    if kind == "mps" or (kind == "auto" and torch.backends.mps.is_available()):
        return (torch.device("mps"),)
    return (torch.device("cpu"),)


def choose_device(name: str) -> torch.device:
    """The device of what computes on one: CUDA's first where there is one and none is named, else the processor.

    Args:
        name: As `choose_devices` takes it.

    Raises:
        JobError: It is none of these, or torch sees no such device.
    """
    if name == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    return choose_devices(name)[0]


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return _free_of_the_machine()


def _free_of_the_machine(root: Path = Path("/")) -> int:
    """Bytes, also within the limit of a container; `root` is where the system tells of itself."""
    free = _ASSUMED
    if os.name == "nt":
        return _free_of_windows()
    try:
        lines = dict(line.split(":") for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        try:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (OSError, ValueError, AttributeError):
            return _ASSUMED
    for limit, used, cached in _CGROUPS:
        try:
            left = int((root / limit).read_text(encoding="ascii")) - int((root / used).read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such group, or no limit
            continue
        return min(free, max(0, left + _cached(root / limit, cached)))
    return free


def _cached(limit: Path, name: str) -> int:
    """Bytes of files that a container keeps in memory for later: they count as used, and go when they are needed."""
    try:
        lines = limit.with_name("memory.stat").read_text(encoding="ascii").splitlines()
        return int(dict(line.split() for line in lines)[name])
    except (OSError, KeyError, ValueError):
        return 0


def _free_of_windows() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "free", "c", "d", "e", "f", "g")),
        )

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # type: ignore[attr-defined]
        return _ASSUMED
    return int(status.free)


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions of float32 are computed as such on NVIDIA's GPUs; torch lets them round to the ten bits of TF32.

    That is a setting of the whole process: it stays until the last of all threads that want it is through.
    """
    with _FULL.lock:
        if not _FULL.threads:
            _FULL.before = torch.backends.cudnn.allow_tf32
            torch.backends.cudnn.allow_tf32 = False
        _FULL.threads += 1
    try:
        yield
    finally:
        with _FULL.lock:
            _FULL.threads -= 1
            if not _FULL.threads:
                torch.backends.cudnn.allow_tf32 = _FULL.before


class _Full:
    """How many want it, and what was set before the first of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.threads = 0
        self.before = True


_FULL = _Full()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was asked for that is not there."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "not enough memory" in told
        or "can't allocate memory" in told
        or "out of memory" in told
        or "status_alloc_failed" in told  # cuBLAS and cuDNN
    )


def is_lost(error: BaseException, device: torch.device) -> bool:
    """Whether an error says that a device does not answer any more; never the processor."""
    if device.type == "cpu" or is_out_of_memory(error):  # what says so is often a "CUDA error" too
        return False
    accelerator = getattr(torch, "AcceleratorError", None)
    if accelerator is not None and isinstance(error, accelerator):
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and ("cuda error" in told or "cudnn" in told or "mps backend" in told)


def forget(device: torch.device) -> None:
    """Gives back what torch keeps of a device's memory for later use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
