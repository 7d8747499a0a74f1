"""The history of a run: every number, picture and table in its folder, and from there to loggers and dashboards."""
