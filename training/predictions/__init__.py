"""What a model, or a file, says of a picture."""
