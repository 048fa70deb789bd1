"""All files of one slide, and its summary."""
