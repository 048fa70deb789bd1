"""Run a bundle on slides: tiles in, outlines out. Never imports torch."""
