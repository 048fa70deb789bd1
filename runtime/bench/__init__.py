"""How long a bundle takes on this machine."""
