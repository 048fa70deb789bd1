"""A slide made by code, for the demo and for tests."""
