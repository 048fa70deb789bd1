"""A run: its settings, its plan, and tiles in, parts of a store out."""
