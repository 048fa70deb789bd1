"""Where to look: the grid over a slide, the tissue, and tiles read ahead."""
