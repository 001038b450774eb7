"""Charts from frames: the timeline of settlements, and charts of a whole run.

`timeline`, `latency`, `outcomes` and `prices` draw for reports and notebooks, `figure_png` returns
their bytes, `timeline_html` writes one self-contained page. All take any number of settlements.
"""

from workbench.results.charts.run_charts import latency, outcomes, prices
from workbench.results.charts.theme import figure_png
from workbench.results.charts.timeline_page import timeline_html
from workbench.results.charts.timeline_png import timeline

__all__ = ["figure_png", "latency", "outcomes", "prices", "timeline", "timeline_html"]
