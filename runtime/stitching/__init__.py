"""Each nucleus once, whatever tiles saw of it."""
