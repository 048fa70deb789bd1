"""What a result says of the programs that made it."""

from importlib import metadata

_PACKAGES = (
    "nuhtc",
    "numpy",
    "scipy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "openslide-python",
    "openslide-bin",
    "pillow",
    "pyarrow",
)


def printable(name: str) -> str:
    """Return a file's name as text that every encoding of Unicode takes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def versions() -> dict[str, str]:
    """Return the versions of this program and of what it stands on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
