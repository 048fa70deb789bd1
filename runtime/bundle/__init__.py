"""A model as data: its card and its files, in a folder or packed into one."""
