"""Random training tiles with their targets."""
