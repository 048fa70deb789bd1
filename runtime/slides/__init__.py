"""A file as RGB pixels at a known um/px: slides and pictures, damaged or whole."""
