"""Comparison with other codecs."""
