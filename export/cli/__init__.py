"""The command `nuhtc-export`."""
