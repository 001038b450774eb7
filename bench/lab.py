"""How fast the settlement lanes draw in a browser, and what watching a run costs (`watching`).

10,000 lanes in the model, about 60 of them in view. Facts come 1,000 a second, as the lanes they
change, in frames of 15 a second. Panned is with the mouse, by the browser's own input events; a
frame counts if the lanes were redrawn in it, and pixels must differ while they are panned.

    python -m bench.lab [--lanes 10000] [--seconds 5] [--rounds 3] [--pairs 9] [--json]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import watching
from tests.browser import CHROMIUM, MISSING, Browser
from tests.lab import synthetic
from tests.lab.page import LanesPage, page_text
from workbench.core.errors import WorkbenchError

FACTS_PER_S, FRAMES_PER_S = 1_000, 15
WIDTH, HEIGHT = 1144, 1120
GAP_MS = 60
"""Between two buyers, in the run's own time."""
STEP_PX = 4
"""How far the mouse is moved at once."""
FIRST_LANE = """
<script type="module">
const show = () => {
  start({});
  for (const [message, text] of ANSWERS) model.tell(message, text);
  // The upper left corner of the lanes: the first one begins at the time's origin.
  const look = () => {
    const { data } = document.querySelectorAll(".wbl-plot canvas")[1].getContext("2d")
      .getImageData(128, 130, 60, 60);
    for (let n = 3; n < data.length; n += 4) {
      if (data[n] === 255) { window.firstLane = performance.now(); return; }
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
};
show();
</script>
"""


@dataclass(frozen=True)
class Frame:
    """What comes at once: the lanes that facts changed, and the time then."""

    now_ms: float
    message: dict[str, Any]
    data: bytes


def fact_times(lane: synthetic.Lane) -> Iterator[float]:
    """The times of a lane's facts: its arrival, each stage, its end."""
    at = lane.start
    yield at
    for _, took, _ in lane.stages:
        at += took
        yield at


def frames_of(lanes: list[synthetic.Lane], since: float, count: int) -> list[Frame]:
    """Frames of as many facts as come in a fifteenth of a second, from `since` on."""
    facts = sorted((at, n) for n, lane in enumerate(lanes) for at in fact_times(lane))
    later = [fact for fact in facts if fact[0] > since]
    size = round(FACTS_PER_S / FRAMES_PER_S)
    frames = []
    for n in range(min(count, len(later) // size)):
        part = later[n * size : (n + 1) * size]
        now, changed = part[-1][0], sorted({lane for _, lane in part})
        message, data = synthetic.lanes_message(lanes, now, only=changed, reset=False)
        message["names"] = []  # they are known by now
        frames.append(Frame(now, message, data))
    return frames


def text_of(data: bytes | None) -> str | None:
    return base64.b64encode(data).decode() if data else None


def opened(browser: Browser, lanes: list[synthetic.Lane], since: float) -> LanesPage:
    """The page with all lanes in its model, as of `since`."""
    page = LanesPage(browser)
    span = lanes[-1].start + 120_000
    page.tell(synthetic.setup(buyers=len(lanes), duration_ms=span))
    page.tell(*synthetic.lanes_message(lanes, since))
    page.tell(synthetic.state("live", since))
    page.settle()
    return page


def stream(page: LanesPage, frames: list[Frame]) -> None:
    """Hand the frames over beforehand, so that only their arrival is timed; then let them come."""
    told = [[f.message, text_of(f.data), synthetic.state("live", f.now_ms)] for f in frames]
    page.browser.eval(f"void (window.told = {json.dumps(told)})")
    page.browser.eval(
        "void (window.streamed = 0, window.stream = setInterval(() => {"
        " const next = told[streamed++]; if (!next) return clearInterval(stream);"
        f" model.tell(next[0], next[1]); model.tell(next[2], null); }}, {1000 / FRAMES_PER_S}))"
    )


REDRAWS = "[view.stats().redraws, performance.now(), window.streamed]"


def panning(browser: Browser, lanes: list[synthetic.Lane], seconds: float) -> dict[str, float]:
    """Frames per second in which the lanes were redrawn while the mouse panned them."""
    since = lanes[int(len(lanes) * 0.8)].start
    page = opened(browser, lanes, since)
    browser.eval("document.querySelector('[aria-label=Settlements]').focus()")
    for _ in range(5):
        browser.key("+")
    page.settle()
    plot = "document.querySelector('.wbl-plot').getBoundingClientRect().toJSON()"
    box = browser.eval(plot)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    stream(page, frames_of(lanes, since, int((seconds + 3) * FRAMES_PER_S)))
    browser.mouse("mousePressed", x, y, button="left", clickCount=1)
    seen, moved, began = {page.pixels()}, 0, browser.eval(REDRAWS)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        moved += 1
        # To and fro, so that there is always something in view.
        x += STEP_PX if moved // 40 % 2 else -STEP_PX
        browser.mouse("mouseMoved", x, y, button="left", buttons=1)
    ended = browser.eval(REDRAWS)
    seen.add(page.pixels())
    browser.mouse("mouseReleased", x, y, button="left", clickCount=1)
    in_view = browser.eval("view.stats().inView")
    page.close()
    if len(seen) < 2:
        raise WorkbenchError("void: the picture stayed the same while it was panned.")
    took = (ended[1] - began[1]) / 1000
    return {
        "panning_frames_per_s": round((ended[0] - began[0]) / took, 1),
        "panning_moves_per_s": round(moved / took, 1),
        "panning_told_per_s": round((ended[2] - began[2]) / took, 1),
        "lanes_in_view": in_view,
    }


def idle(browser: Browser, lanes: list[synthetic.Lane], seconds: float) -> float:
    """Redraws per second while facts arrive and nobody does anything."""
    since = lanes[int(len(lanes) * 0.8)].start
    page = opened(browser, lanes, since)
    stream(page, frames_of(lanes, since, int((seconds + 1) * FRAMES_PER_S)))
    began = browser.eval(REDRAWS)
    browser.eval(f"new Promise((done) => setTimeout(done, {seconds * 1000}))")
    ended = browser.eval(REDRAWS)
    page.close()
    return float(round((ended[0] - began[0]) / (ended[1] - began[1]) * 1000, 1))


def first_lane(browser: Browser, lanes: list[synthetic.Lane]) -> float:
    """Seconds from navigation until the first bar is drawn, all lanes being in the page."""
    span = lanes[-1].start + 120_000
    told = [
        (synthetic.setup(buyers=len(lanes), duration_ms=span), None),
        synthetic.lanes_message(lanes, span),
        (synthetic.state("done", span), None),
    ]
    answers = json.dumps([[message, text_of(data)] for message, data in told])
    script = FIRST_LANE.replace("ANSWERS", answers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lanes.html"
        path.write_text(page_text() + script, "utf-8")
        browser.goto(path.as_uri())
        browser.wait_for("window.firstLane")
        return float(round(browser.eval("firstLane") / 1000, 3))


def main() -> int:
    """Prints the figures of the best round, of redraws the most; 1 if one misses what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=watching.PAIRS, help="0: leave watching out")
    parser.add_argument("--buyers", type=int, default=watching.BUYERS, help="in a watched run")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if CHROMIUM is None:
        raise WorkbenchError(MISSING)
    lanes = synthetic.load_lanes(chosen.lanes, gap_ms=GAP_MS)
    told: dict[str, Any] = {"lanes": chosen.lanes, "load": round(os.getloadavg()[0], 1)}
    with Browser(WIDTH, HEIGHT) as browser:
        rounds = range(chosen.rounds)
        told["first_lane_s"] = min(first_lane(browser, lanes) for _ in rounds)
        told["idle_redraws_per_s"] = max(idle(browser, lanes, chosen.seconds) for _ in rounds)
        pans = [panning(browser, lanes, chosen.seconds) for _ in rounds]
        told |= max(pans, key=lambda pan: pan["panning_frames_per_s"])
        if browser.errors:
            raise WorkbenchError(f"void: {browser.errors[0]}")
    if chosen.pairs:
        told |= watching.measure(chosen.buyers, chosen.pairs)
    if chosen.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name:22} {value}")
    missed = (
        told["panning_frames_per_s"] < 55
        or told["idle_redraws_per_s"] > 15
        or told["first_lane_s"] > 1
        or told.get("watching_cpu_share", 0) > 0.10
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
