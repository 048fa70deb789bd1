"""Train NuHTC: network, data sets, losses and metrics (torch)."""
