"""Peak memory of a process."""

from pathlib import Path


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB (Linux).

    Not getrusage's ru_maxrss: a new program starts with the largest value of the process that started it.
    """
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
