"""Data sets as they are published, as annotated pictures. Never imports torch."""
