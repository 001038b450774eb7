// Geometry: the zones of the picture, the span in view, ticks, and the visible rows.

const GUTTER = 126; // labels left of the lanes
const RIGHT_GAP = 18;
const STRIPS = { rateTop: 0, rateBase: 58, blocks: 68, chain: 81, services: 99, messages: 117, rule: 128 };
const FOOT = { flightTop: 98, flightBase: 57, ticks: 48, scrub: 23 }; // distances from the bottom
const PITCH = { least: 13, most: 17, bar: 8 };
const STEPS_S = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400,
];

/** The distance between labelled ticks: at least `least` pixels. */
function stepFor(span, pixels, least) {
  const wanted = (span / pixels) * least;
  return (STEPS_S.find((step) => step * 1000 >= wanted) || 86400) * 1000;
}

/** A rounded-up number of the form 1, 2, 2.5 or 5 times a power of ten. */
function niceAbove(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= value - 1e-9);
}

/** Zones and span of the picture. Positions in CSS pixels from its top left corner. */
class Scale {
  constructor() {
    this.width = 0;
    this.height = 0;
    this.mode = "time";
    this.compact = false;
    this.from = 0;
    this.to = 60_000;
    this.limit = 60_000; // where the whole span ends
    this.fitted = true;
    this.pitch = PITCH.most;
    this.scroll = 0;
    this.rows = 0;
  }

  get left() {
    return this.compact ? 34 : GUTTER;
  }

  get right() {
    return Math.max(this.left + 40, this.width - RIGHT_GAP);
  }

  /** Strips and lanes in flight need the time of the run below them. */
  get hasStrips() {
    return this.mode === "time" && !this.compact;
  }

  get lanesTop() {
    return this.hasStrips ? STRIPS.rule : 0;
  }

  get lanesBase() {
    if (this.compact) return this.height - 26;
    return this.height - (this.hasStrips ? FOOT.flightTop + 14 : FOOT.flightBase);
  }

  get axisBase() {
    return this.compact ? this.height - 26 : this.height - FOOT.flightBase;
  }

  get lanesHeight() {
    return Math.max(0, this.lanesBase - this.lanesTop);
  }

  x(value) {
    return this.left + ((value - this.from) * (this.right - this.left)) / (this.to - this.from);
  }

  value(x) {
    return this.from + ((x - this.left) * (this.to - this.from)) / (this.right - this.left);
  }

  /** The middle of a row. */
  y(row) {
    return this.lanesTop + 6 + this.pitch * (row + 0.5) - this.scroll;
  }

  rowAt(y) {
    if (y < this.lanesTop || y > this.lanesBase) return -1;
    const row = Math.floor((y - this.lanesTop - 6 + this.scroll) / this.pitch);
    return row >= 0 && row < this.rows ? row : -1;
  }

  get overflow() {
    return Math.max(0, this.rows * this.pitch + 10 - this.lanesHeight);
  }

  /** First and last row in view. */
  get inView() {
    const first = Math.max(0, Math.floor((this.scroll - 6) / this.pitch));
    const last = Math.ceil((this.scroll + this.lanesHeight) / this.pitch);
    return [first, Math.min(this.rows - 1, last)];
  }

  /** `wanted`: final number of rows, so that rows keep their height as they arrive. */
  setRows(rows, wanted) {
    this.rows = rows;
    const fair = (this.lanesHeight - 12) / Math.max(1, rows, wanted);
    const least = this.compact ? 3 : PITCH.least;
    this.pitch = Math.min(PITCH.most, Math.max(least, fair));
    this.scrollTo(this.scroll);
  }

  scrollTo(y) {
    this.scroll = Math.min(this.overflow, Math.max(0, y));
  }

  fit() {
    this.fitted = true;
    this.from = 0;
    this.to = this.limit;
  }

  /** The end of the whole span; the view follows until the user zooms. */
  setLimit(limit) {
    this.limit = limit;
    if (this.fitted) this.fit();
  }

  /** `factor` below 1 zooms in; `x` keeps its place. */
  zoom(factor, x = (this.left + this.right) / 2) {
    const at = this.value(x);
    const least = this.mode === "order" ? 2 : 500;
    const span = Math.min(this.limit, Math.max(least, (this.to - this.from) * factor));
    if (span >= this.limit) {
      this.fit();
      return;
    }
    const share = (x - this.left) / (this.right - this.left);
    this.moveTo(at - share * span, span);
  }

  pan(pixels) {
    this.moveTo(this.from - (pixels * (this.to - this.from)) / (this.right - this.left));
  }

  moveTo(from, span = this.to - this.from) {
    this.fitted = span >= this.limit;
    this.from = Math.min(Math.max(0, from), Math.max(0, this.limit - span));
    this.to = this.from + span;
  }
}

/** Where the run's span ends: the plan's end, or a little after now. It grows in steps, not each frame. */
function timeLimit(model) {
  const { duration_ms: planned } = model.setup;
  const now = Math.max(model.state.now_ms, 1);
  if (now <= planned) return planned;
  const step = planned > 0 && now < 2 * planned ? planned / 24 : stepFor(now, 8, 1);
  return Math.max(10_000, Math.ceil((now * 1.002) / step) * step);
}

/** The longest lane as of `time`, in the units of the mode. */
function otherLimit(model, mode, time) {
  let most = mode === "order" ? 7 : 10_000;
  for (let lane = 0; lane < model.count; lane += 1) {
    if (!(model.start[lane] <= time)) continue;
    if (mode === "order") most = Math.max(most, model.segs[lane].length / SEG);
    else most = Math.max(most, Math.min(time, model.end[lane] || time) - model.start[lane]);
  }
  return mode === "order" ? most + 1 : most * 1.12;
}
