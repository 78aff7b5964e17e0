"""Memory that this process takes, now and at most since a moment (proc(5))."""

from pathlib import Path


def resident_kib() -> int:
    """Return the resident memory in KiB, and begin to note the most that it is anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _of_status("VmRSS")


def most_resident_kib() -> int:
    """Return the most that the resident memory was since `resident_kib` was called, in KiB."""
    return _of_status("VmHWM")


def _of_status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
