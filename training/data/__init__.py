"""Annotated pictures: data sets as they are published, and the tiles that training draws."""
