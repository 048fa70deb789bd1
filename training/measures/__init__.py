"""Label maps in, figures out."""
