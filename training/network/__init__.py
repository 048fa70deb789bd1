"""The network in readable modules, its presets, and itself as an engine's graphs."""
