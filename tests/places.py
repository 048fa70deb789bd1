"""Where tests find what they do not import."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BENCHMARKS: Final = ROOT / "benchmarks"
PROGRAMS: Final = ROOT / "tests" / "programs"

SHARED: Final = ROOT.parent / "shared"
"""Data and golden values beside the repository; tests that need them skip where they are absent."""
