"""Widgets for notebooks: the panel that runs a scenario, and the tracker that shows settlements."""

from workbench.lab.panel import Panel, panel
from workbench.lab.tracker import Tracker, tracker

__all__ = ["Panel", "Tracker", "panel", "tracker"]
