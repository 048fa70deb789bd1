"""Graphs to TensorRT plans."""
