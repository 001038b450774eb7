// Draws the lanes: bars by stage, ends by shape, labels, and the row under the pointer.

/** Rectangles gathered by colour, so that a canvas changes its colour once for each. */
class Batch {
  constructor() {
    this.rects = new Map();
  }

  add(colour, x, y, width, height) {
    let list = this.rects.get(colour);
    if (!list) this.rects.set(colour, (list = []));
    list.push(x, y, width, height);
  }

  /** `style(colour)`: the fill for a key. */
  flush(ctx, style) {
    for (const [colour, list] of this.rects) {
      ctx.fillStyle = style(colour);
      ctx.beginPath();
      for (let n = 0; n < list.length; n += 4) ctx.rect(list[n], list[n + 1], list[n + 2], list[n + 3]);
      ctx.fill();
    }
    this.rects.clear();
  }
}

const hatches = new Map();

/** Diagonal stripes of a colour, at device pixels; the ground shows between them. */
function hatchOf(ctx, colour, ratio) {
  const key = `${colour} ${ratio}`;
  if (!hatches.has(key)) {
    const size = Math.round(4 * ratio);
    const tile = document.createElement("canvas");
    tile.width = tile.height = size;
    const pen = tile.getContext("2d");
    pen.strokeStyle = colour;
    pen.lineWidth = 1.35 * ratio;
    pen.beginPath();
    for (const shift of [-size, 0, size]) {
      pen.moveTo(shift - 1, size + 1);
      pen.lineTo(shift + size + 1, -1);
    }
    pen.stroke();
    hatches.set(key, tile);
  }
  const pattern = ctx.createPattern(hatches.get(key), "repeat");
  pattern.setTransform(new DOMMatrix([1 / ratio, 0, 0, 1 / ratio, 0, 0]));
  return pattern;
}

/** Position of a lane's times on the axis, for each mode. */
function placer(scale, model, lane) {
  if (scale.mode === "request") {
    const shift = model.start[lane];
    return { x: (at) => scale.x(at - shift), seg: (n, from, to) => [scale.x(from - shift), scale.x(to - shift)] };
  }
  if (scale.mode === "order") {
    const segs = model.segs[lane];
    const x = (at) => {
      const n = model.segmentAt(lane, at);
      if (n < 0) return scale.x(0);
      const [from, to] = [segs[n * SEG + 1], segs[n * SEG + 2]];
      return scale.x(n + (to > from ? Math.min(1, (at - from) / (to - from)) : 1));
    };
    return { x, seg: (n) => [scale.x(n), scale.x(n + 1)] };
  }
  return { x: (at) => scale.x(at), seg: (n, from, to) => [scale.x(from), scale.x(to)] };
}

/** Bars, ends and ticks of the rows in view, either of ended lanes or of open ones. */
function drawLanes(pen, rows, open, ratio) {
  const { ctx, scale, model, time } = pen;
  const [first, last] = scale.inView;
  const bars = new Batch();
  const struck = new Batch();
  const ends = [];
  pen.clipped(scale.lanesTop + 1, scale.lanesBase, () => {
    for (let row = first; row <= last; row += 1) {
      const lane = rows[row];
      const isOpen = outcomeAt(model, lane, time) === model.OPEN;
      if (isOpen !== open) continue;
      const end = addBars(pen, lane, scale.y(row), { bars, struck, ratio }, isOpen);
      if (!scale.compact || !isOpen) ends.push(end);
    }
    if (pen.pale) ctx.globalAlpha = 0.55;
    bars.flush(ctx, (key) => pen.c(key));
    struck.flush(ctx, (key) => hatchOf(ctx, pen.c(key), ratio));
    ctx.globalAlpha = 1;
    const size = Math.min(1, Math.max(0.5, scale.pitch / 11));
    for (const [shape, x, y, colour] of ends) {
      if (x > scale.left - 10 && x < scale.right + 10) {
        drawGlyph(ctx, shape, x, y, pen.c(colour), pen.c("ground"), size);
      }
    }
  }, 7);
}

/** Bars of one lane into the batches; its end: [shape, x, y, colour]. */
function addBars(pen, lane, middle, { bars, struck, ratio }, isOpen) {
  const { scale, model, time } = pen;
  const place = placer(scale, model, lane);
  const height = Math.min(PITCH.bar, scale.pitch - (scale.pitch < 8 ? 1 : 4));
  const top = Math.round(middle - height / 2);
  const segs = model.segs[lane];
  let x = NaN;
  for (let n = 0; n * SEG < segs.length; n += 1) {
    const [stage, from, ended, flags] = segs.subarray(n * SEG, n * SEG + SEG);
    if (from > time) break;
    const to = ended <= time ? ended : time;
    const [x0, x1] = place.seg(n, from, to);
    const look = model.setup.stages[stage];
    if (!look || look.is_end) continue;
    x = x1;
    if (x1 < scale.left || x0 > scale.right) continue;
    // At device pixels, and a gap of one between stages, so that edges are sharp.
    const left = Math.round(Math.max(scale.left - 8, x0) * ratio) / ratio;
    const right = Math.round(Math.min(scale.right + 8, x1) * ratio) / ratio;
    const width = Math.max(1, right - left - (x1 - x0 > 2.5 ? 1 : 0));
    // A stage that a reorg removed is drawn solid before the time of the reorg.
    (flags & 1 && ended <= time ? struck : bars).add(look.colour, left, top, width, height);
  }
  for (const at of model.lost[lane]) {
    if (at <= time && height >= 6) bars.add("ink", Math.round(place.x(at)), top - 3, 1, 3);
  }
  if (isOpen) return ["chevron", (x === x ? x : place.x(model.start[lane])) + 5, middle, "ink"];
  const look = model.setup.outcomes[model.outcome[lane]];
  const at = scale.mode === "order" ? (x === x ? x : scale.x(0)) : place.x(model.end[lane]);
  return [look.shape, at, middle, look.colour];
}

/**
 * Texts at the lanes' ends: why they were not executed, and the slowest. Of open lanes, or of ended ones;
 * the latter also draw the numbers and amounts at the left, of all lanes.
 */
function drawLabels(pen, rows, slowest, open) {
  const { ctx, scale, model, time } = pen;
  if (scale.compact) return;
  const [first, last] = scale.inView;
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, scale.lanesTop + 1, scale.width, scale.lanesBase - scale.lanesTop - 1);
  ctx.clip();
  ctx.font = font(11);
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.fillStyle = pen.c("muted");
  const digits = String(model.count).length;
  const edge = digits > 3 ? 14 + digits * 6.8 : 29;
  for (let row = first; row <= last && !open; row += 1) {
    const [name, amount] = model.names[rows[row]];
    const y = scale.y(row) + 0.5;
    ctx.fillText(name, edge, y);
    ctx.fillText(amount, scale.left - 9, y);
  }
  for (let row = first; row <= last; row += 1) {
    if ((outcomeAt(model, rows[row], time) === model.OPEN) !== open) continue;
    const words = labelOf(model, rows[row], slowest, time);
    if (words) drawLabel(pen, words, rows[row], scale.y(row) + 0.5);
  }
  ctx.restore();
}

function labelOf(model, lane, slowest, time) {
  const here = outcomeAt(model, lane, time);
  if (slowest.has(lane)) {
    const took = slowest.get(lane);
    return here === model.OPEN ? `${Math.round(took / 1000)} s so far` : spanText(took);
  }
  return here !== model.EXECUTED && here !== model.OPEN ? model.names[lane][2] : "";
}

/** Number of bars of a lane at `time`: its stages without the end. */
function barsAt(model, lane, time) {
  const segs = model.segs[lane];
  let bars = 0;
  for (let n = 0; n * SEG < segs.length && segs[n * SEG + 1] <= time; n += 1) {
    const look = model.setup.stages[segs[n * SEG]];
    if (look && !look.is_end) bars = n + 1;
  }
  return bars;
}

/** Right of the lane's end, or left of its beginning if there is no room. */
function drawLabel(pen, words, lane, y) {
  const { scale, model, time } = pen;
  const place = placer(scale, model, lane);
  const segs = model.segs[lane];
  const isOpen = !(model.end[lane] <= time);
  let end = place.x(isOpen ? time : model.end[lane]);
  if (scale.mode === "order") end = scale.x(barsAt(model, lane, time));
  const start = segs.length ? place.seg(0, segs[1], segs[1])[0] : end;
  const width = pen.widthOf(words);
  if (end < scale.left - 60 || start > scale.right) return;
  const gap = isOpen ? 14 : 11;
  if (end + gap + width <= scale.right + 14 || start - 8 - width < scale.left) {
    if (end + gap >= scale.left) pen.text(words, end + gap, y, { halo: isCrossed(pen, end + gap, width) });
  } else pen.text(words, start - 7, y, { align: "right", halo: isCrossed(pen, start - 7 - width, width) });
}

/** True if the line of a reorg crosses a text of this width: then it needs a background. */
function isCrossed({ scale, model, time }, x, width) {
  if (scale.mode !== "time") return false;
  const marks = model.marks[MARK.REORG];
  return marks.until(Math.min(time, scale.value(x + width))) > marks.until(scale.value(x));
}

/** The line of now, or of the scrubbed time; in the alarm colour if a run broke. */
function drawNow(pen, { colour, words }) {
  const { ctx, scale } = pen;
  const x = Math.round(scale.x(pen.time));
  if (x < scale.left || x > scale.right + 1) return;
  ctx.fillStyle = pen.c(colour);
  // In the whole view the scrubber's thumb stands below: the line goes down to it.
  const base = scale.fitted && scale.hasStrips ? scale.height - FOOT.scrub : scale.axisBase;
  ctx.fillRect(x - (words ? 1 : 0), 0, words ? 2 : 1, base);
  if (words) {
    const fits = x + 8 + pen.widthOf(words) < scale.width;
    // The strips end at the newest moment.
    const y = scale.compact ? 6 : STRIPS.blocks;
    pen.text(words, fits ? x + 7 : x - 7, y, { colour, align: fits ? "left" : "right", halo: true });
  }
}

/** The number of buyers who have not come yet, below the lanes. */
function drawNotCome(pen, figures) {
  const { scale, model } = pen;
  const left = figures.counts[model.NOT_COME];
  if (!left || scale.compact || scale.overflow > 0) return;
  const y = scale.lanesBase - 7;
  if (scale.y(scale.rows - 1) + 14 > y) return;
  const noun = left === 1 ? figures.noun.slice(0, -1) : figures.noun;
  const words = `${grouped(left)} ${noun} ${left === 1 ? "has" : "have"} not come yet`;
  pen.text(words, scale.right, y, { align: "right", halo: true });
}

/** The layer of the pointer is below the others: row under the pointer, selection. */
function drawPointer(pen, { row, chosen, selection }) {
  const { ctx, scale } = pen;
  ctx.clearRect(0, 0, scale.width, scale.height);
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, scale.lanesTop + 1, scale.width, scale.lanesBase - scale.lanesTop - 1);
  ctx.clip();
  for (const each of new Set([row, chosen])) {
    if (each < 0 || each >= scale.rows) continue;
    pen.rect("row", 0, scale.y(each) - scale.pitch / 2, scale.width, scale.pitch);
  }
  ctx.restore();
  if (selection) {
    const [x0, x1] = [scale.x(selection.from), scale.x(selection.to)];
    pen.rect("band", x0, scale.lanesTop, x1 - x0, scale.lanesBase - scale.lanesTop);
    pen.rect("accent", Math.round(x0), scale.lanesTop, 1, scale.lanesBase - scale.lanesTop);
    pen.rect("accent", Math.round(x1), scale.lanesTop, 1, scale.lanesBase - scale.lanesTop);
  }
}
