"""Frames in, figures out: the settlement timeline, as a matplotlib figure and as an offline page.

`timeline` draws for reports and notebooks, `figure_png` makes its bytes, `timeline_html` writes
one self-contained page. All three take any number of settlements, and every fact there is.
"""

from workbench.charts.figure import figure_png, timeline
from workbench.charts.page import timeline_html

__all__ = ["figure_png", "timeline", "timeline_html"]
