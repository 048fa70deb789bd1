"""How good a network is: measures, protocols, reports."""
