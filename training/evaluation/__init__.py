"""All measures of a data set, as tables and pictures."""
