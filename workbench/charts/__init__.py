"""Frames in, figures out: the settlement timeline, and charts of a run of many.

`timeline`, `latency`, `outcomes` and `prices` draw for reports and notebooks, `figure_png` makes
their bytes, `timeline_html` writes one self-contained page. All take any number of settlements.
"""

from workbench.charts.figure import timeline
from workbench.charts.market import latency, outcomes, prices
from workbench.charts.page import timeline_html
from workbench.charts.sheet import figure_png

__all__ = ["figure_png", "latency", "outcomes", "prices", "timeline", "timeline_html"]
