"""Engines, precisions and flips by name, for options and checks. Imports nothing heavy."""

from typing import Final

PRECISIONS_OF: Final = {
    "tensorrt-rtx": ("fp16", "fp32", "int8"),
    "cuda": ("fp16", "fp32"),
    "tensorrt": ("fp16", "fp32", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "cpu": ("fp32", "int8", "fp16"),
}
"""Every engine, and what it computes in; of the GPUs' first two, the first that a bundle has."""

ENGINES: Final = ("auto", *sorted(PRECISIONS_OF))

PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16", "int8")

# TensorRT last: plans must have been built for it, and it has never run on hardware.
GPU_ENGINES: Final = ("tensorrt-rtx", "cuda", "tensorrt")

AUTO_ORDER: Final = (
    *((name, "a GPU is faster than a CPU") for name in GPU_ENGINES),
    ("cpu", "the fastest measured on a CPU for whole tiles"),
    ("openvino", "the only one on a CPU for this precision"),
)
"""The engines that ``auto`` tries, fastest first, and why each stands there: docs/speed.md."""

FLIPS: Final = (1, 2, 4)
"""How often a tile may be looked at: as it is, turned, and mirrored."""
