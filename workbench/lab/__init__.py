"""Widgets for notebooks: the panel that drives a run, and the tracker that shows settlements."""
