"""The commands `nuhtc-run` and `nuhtc-convert`."""
