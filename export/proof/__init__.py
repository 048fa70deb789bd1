"""A bundle held against PyTorch, and tuned."""
