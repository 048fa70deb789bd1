"""The losses, and what the network should have said."""
