"""Nuclei as arrays, and what can be asked of them."""
