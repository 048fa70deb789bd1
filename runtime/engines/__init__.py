"""Engines: a bundle's graphs on some device, and the cascade between them.

``cascade`` is what every engine does between the graphs; ``graphs`` says what a backend gives;
``onnxruntime``, ``openvino`` and ``tensorrt`` are the backends, each imported only when it is
used; ``open`` takes one by name, or the fastest that works here.
"""
