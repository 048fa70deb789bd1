"""Build the Cython kernels; everything else is in pyproject.toml.

The top-level folders are installed as ``nuhtc.<folder>``. ``nuhtc`` itself is a
namespace package without an ``__init__``. The ``.pyx`` files go to ``Extension``
as they are: setuptools compiles them because Cython is a build requirement, and
they stay in the source distribution (``MANIFEST.in``) but out of the wheel.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

ROOMS = ("training", "export", "runtime", "native")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

setup(
    packages=[
        f"nuhtc.{folder.as_posix().replace('/', '.')}"
        for room in ROOMS
        for folder in sorted(path.parent for path in Path(room).rglob("__init__.py"))
    ],
    package_dir={f"nuhtc.{room}": room for room in ROOMS},
    package_data={
        "nuhtc.training": ["py.typed"],
        "nuhtc.export": ["py.typed"],
        "nuhtc.runtime": ["py.typed", "models/*/*.onnx", "models/*/card.json", "models/*/parity.*"],
        "nuhtc.native": ["py.typed", "*.pyi"],
    },
    include_package_data=False,
    # The stable ABI would make one wheel do for every Python, but a call takes half as long again.
    ext_modules=[
        Extension(
            f"nuhtc.native.{source.stem}",
            [source.as_posix()],
            extra_compile_args=["-O3", "-ffp-contract=off"],
        )
        for source in sorted(Path("native").glob("*.pyx"))
    ],
    options={"build_ext": {"parallel": CORES}},
)
