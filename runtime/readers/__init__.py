"""Outlines that others have saved: this program's own formats, and NuHTC's GeoJSON and DSA."""
