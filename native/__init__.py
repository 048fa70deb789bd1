"""Cython kernels on plain arrays. Imports nothing else of the project."""
