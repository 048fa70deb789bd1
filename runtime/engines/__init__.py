"""Engines: a bundle's graphs on some device, and the cascade between them.

``cascade`` is what every engine does between the graphs; ``graphs`` says what a backend gives;
``onnxruntime`` (with ``providers``), ``openvino`` and ``tensorrt`` are the backends, each
imported only when it is used; ``open`` takes one by name, or the fastest that works here.
"""

import os

# ONNX Runtime reports its use to its maker unless told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
