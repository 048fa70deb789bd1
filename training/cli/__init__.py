"""The commands `nuhtc-train`, `nuhtc-eval` and `nuhtc-prepare`."""
