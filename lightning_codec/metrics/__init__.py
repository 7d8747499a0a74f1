"""Image metrics with a stated protocol, and the rows they are written to."""
