"""Which machine it was."""

import platform
from pathlib import Path
from typing import Any

from nuhtc.runtime.console.options import available_cores


def machine() -> dict[str, Any]:
    """Return the CPU's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"cpu": named[0] if named else name, "cores": available_cores()}
