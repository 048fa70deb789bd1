"""The network as graphs of every precision, and the bundle around them."""
