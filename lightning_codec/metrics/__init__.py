"""Metrics with a stated protocol: of single pictures, of sets of them, and the rows that are written."""
