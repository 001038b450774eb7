// Draws what stands above and below the lanes: blocks, chain, services, messages, in flight, time.

/** What all drawing needs: a canvas, the scale, the model, a time, and colours by key. */
class Pen {
  constructor(ctx, scale, model, time, dark) {
    Object.assign(this, { ctx, scale, model, time, dark });
  }

  c(key) {
    return colourOf(this.model.setup.palette, key, this.dark);
  }

  text(words, x, y, { colour = "muted", size = 11, weight = 400, align = "left", halo = false } = {}) {
    const { ctx } = this;
    ctx.font = font(size, weight);
    ctx.textAlign = align;
    ctx.textBaseline = "middle";
    if (halo) {
      ctx.lineWidth = 3;
      ctx.strokeStyle = this.c("ground");
      ctx.strokeText(words, x, y);
    }
    ctx.fillStyle = this.c(colour);
    ctx.fillText(words, x, y);
  }

  widthOf(words, size = 11, weight = 400) {
    this.ctx.font = font(size, weight);
    return this.ctx.measureText(words).width;
  }

  rect(colour, x, y, width, height) {
    this.ctx.fillStyle = this.c(colour);
    this.ctx.fillRect(x, y, width, height);
  }

  /** Draw inside the plot's columns only. */
  clipped(top, base, draw, more = 0) {
    const { ctx, scale } = this;
    ctx.save();
    ctx.beginPath();
    ctx.rect(scale.left - 0.5 - more, top, scale.right - scale.left + 1 + 2 * more, base - top);
    ctx.clip();
    draw();
    ctx.restore();
  }
}

/** Grid, labels of the time axis, shades of outages and rules of reorgs: all that lies below. */
function drawGround(pen) {
  const { ctx, scale } = pen;
  ctx.clearRect(0, 0, scale.width, scale.height);
  drawAxis(pen);
  if (scale.mode === "time") {
    pen.clipped(0, scale.axisBase, () => drawShades(pen));
    if (!scale.compact) pen.clipped(STRIPS.chain, scale.lanesBase, () => drawReorgRules(pen));
  }
  if (scale.hasStrips) {
    pen.rect("hairline", 0, STRIPS.rule, scale.width, 1);
    drawStripNames(pen);
  }
}

/** Labelled ticks: time in min, stages in order, or time since the request. */
function axisTicks(scale) {
  const ticks = [];
  const room = scale.right - scale.left;
  const step = scale.mode === "order" ? 1 : stepFor(scale.to - scale.from, room, scale.compact ? 58 : 90);
  const tenths = step < 1000;
  for (let n = Math.ceil(scale.from / step - 1e-9); n * step <= scale.to + 1e-6; n += 1) {
    ticks.push([n * step, scale.mode === "order" ? String(n) : clockText(n * step, tenths)]);
  }
  return { ticks, step };
}

const AXIS_NAMES = { time: "after the start, min", order: "stages, in order", request: "after the request" };

function drawAxis(pen) {
  const { ctx, scale } = pen;
  const { ticks, step } = axisTicks(scale);
  const base = scale.axisBase;
  ctx.fillStyle = pen.c("hairline");
  for (const [value] of ticks) {
    const x = Math.round(scale.x(value));
    if (x >= scale.left - 1 && x <= scale.right + 1) ctx.fillRect(x, 0, 1, base);
  }
  ctx.fillStyle = pen.c("border");
  ctx.fillRect(scale.left, 0, 1, base);
  ctx.fillRect(scale.left, base, scale.right - scale.left, 1);
  for (const [value] of ticks) {
    const half = Math.round(scale.x(value + step / 2));
    if (scale.mode !== "order" && half < scale.right) ctx.fillRect(half, base, 1, 3);
  }
  for (const [value, words] of ticks) {
    const x = scale.x(value);
    const first = x < scale.left + 8 && !scale.compact;
    const [at, align] = first ? [scale.left, "left"] : [Math.min(x, scale.right), "center"];
    pen.text(words, x > scale.right - 8 && !scale.compact ? scale.right : at, base + 10, {
      align: x > scale.right - 8 && !scale.compact ? "right" : align,
    });
  }
  if (!scale.compact) pen.text(AXIS_NAMES[scale.mode], 14, base + 10);
}

function drawShades(pen) {
  const { scale } = pen;
  const top = scale.compact ? 0 : STRIPS.services - 6;
  for (const { from, to } of outagesAt(pen.model, pen.time)) {
    const [x0, x1] = [scale.x(from), scale.x(to === to ? to : pen.time)];
    pen.rect("shade", x0, top, Math.max(1, x1 - x0), scale.axisBase - top);
  }
}

function drawReorgRules(pen) {
  const { ctx, scale } = pen;
  const { at } = pen.model.marks[MARK.REORG];
  ctx.strokeStyle = pen.c("muted");
  ctx.lineWidth = 1;
  ctx.setLineDash([1, 3]);
  ctx.beginPath();
  for (let n = 0; n < pen.model.marks[MARK.REORG].until(pen.time); n += 1) {
    const x = Math.round(scale.x(at[n])) + 0.5;
    ctx.moveTo(x, STRIPS.chain + 8);
    ctx.lineTo(x, scale.lanesBase);
  }
  ctx.stroke();
  ctx.setLineDash([]);
}

function drawStripNames(pen) {
  const { model, scale } = pen;
  const edge = scale.left - 9;
  const { block_ms: block } = model.setup;
  const name = (words, y) => pen.text(words, 14, y, { colour: "ink", weight: 600 });
  const note = (words, y) => pen.text(words, edge, y, { align: "right" });
  name("EUR/USD", 5);
  name("Blocks", STRIPS.blocks);
  note(block ? `every ${+(block / 1000).toFixed(1)} s` : "", STRIPS.blocks);
  name("Chain", STRIPS.chain);
  note("reorgs, fees", STRIPS.chain);
  name("Services", STRIPS.services);
  note("killed", STRIPS.services);
  name("Messages", STRIPS.messages);
  note("lost, late", STRIPS.messages);
  name("In flight", scale.height - FOOT.flightTop + 3);
  pen.text("USDC for 1", 14, 34);
  pen.text("EURC", 14, 48);
}

/** Marks in view, at most one a pixel: calls draw(x, number of the mark). */
function eachMark(pen, type, draw, least = 1) {
  const marks = pen.model.marks[type];
  const end = marks.until(Math.min(pen.time, pen.scale.to));
  let last = -Infinity;
  for (let n = marks.until(pen.scale.from - 1e-6); n < end; n += 1) {
    const x = pen.scale.x(marks.at[n]);
    if (x - last < least) continue;
    last = x;
    draw(x, n);
  }
}

function drawStrips(pen) {
  pen.clipped(0, STRIPS.rateBase + 1, () => drawRate(pen), 4);
  pen.clipped(STRIPS.blocks - 4, STRIPS.rule, () => {
    drawBlocks(pen);
    drawMessages(pen);
  });
  pen.clipped(STRIPS.chain - 8, STRIPS.rule, () => {
    drawChain(pen);
    drawServices(pen);
  }, 6);
}

function drawBlocks(pen) {
  const { ctx, scale, model, time } = pen;
  ctx.fillStyle = pen.c("border");
  const tick = (x) => ctx.fillRect(Math.round(x), STRIPS.blocks - 3, 1, 6);
  if (model.marks[MARK.BLOCK].at.length) {
    eachMark(pen, MARK.BLOCK, tick, 3);
    return;
  }
  const { block_ms: block } = model.setup;
  if (!block) return;
  let every = block;
  while (scale.x(every) - scale.x(0) < 3) every *= 2;
  const end = Math.min(time, scale.to);
  for (let n = Math.ceil(scale.from / every); n * every <= end; n += 1) tick(scale.x(n * every));
}

function drawMessages(pen) {
  const { ctx } = pen;
  const y = STRIPS.messages;
  ctx.fillStyle = pen.c("border");
  eachMark(pen, MARK.LATE, (x) => ctx.fillRect(Math.round(x), y - 3, 1, 6));
  ctx.fillStyle = pen.c("muted");
  eachMark(pen, MARK.TRANSACTION, (x) => ctx.fillRect(Math.round(x), y - 3, 1, 6));
  eachMark(pen, MARK.LOST, (x) => ctx.fillRect(Math.round(x), y - 5, 1, 10));
}

/** Reorgs, fee spikes, a drained pool, broken rules: a shape each, with words where there is room. */
function drawChain(pen) {
  const { model, scale } = pen;
  const y = STRIPS.chain;
  const found = [];
  const take = (type, shape, words, colour = "ink") =>
    eachMark(pen, type, (x, n) => found.push([x, shape, words(model.marks[type].a[n]), colour]), 8);
  take(MARK.REORG, "reorg", (depth) => [`${depth} ${depth === 1 ? "block" : "blocks"}`, `${depth}`]);
  take(MARK.FEE, "fee", (times) => [`fee × ${+times.toFixed(1)}`]);
  take(MARK.POOL, "pool", (percent) => [`pool −${+percent.toFixed(0)} %`]);
  take(MARK.RULE, "rule", () => ["rule broken"], "alarm");
  found.sort((a, b) => a[0] - b[0]);
  eachMark(pen, MARK.ORDERED, (x) => drawGlyph(pen.ctx, "hand", x, STRIPS.rule - 3, pen.c("accent"), pen.c("ground")));
  found.forEach(([x, shape, words, colour], n) => {
    drawGlyph(pen.ctx, shape, x, y, pen.c(colour), pen.c("ground"));
    const room = (n + 1 < found.length ? found[n + 1][0] - 8 : scale.right + 6) - x - 9;
    const fits = words.find((text) => pen.widthOf(text, 10) <= room);
    if (fits) pen.text(fits, x + 9, y + 0.5, { size: 10, halo: true });
  });
}

/** Who was away, from when to when. */
function drawServices(pen) {
  const { ctx, scale, model, time } = pen;
  const y = STRIPS.services;
  let taken = -Infinity;
  const all = outagesAt(model, time);
  for (const { from, to } of all) {
    const [x0, x1] = [scale.x(from), scale.x(to === to ? to : time)];
    pen.rect("ink", x0, y - 0.5, x1 - x0, 1.5);
    if (to === to) pen.rect("ink", x1 - 0.75, y - 4, 1.5, 8);
    drawGlyph(ctx, "killed", x0, y, pen.c("ink"), pen.c("ground"));
  }
  all.forEach(({ service, from, to, byHand }, n) => {
    const end = to === to ? to : time;
    const name = model.setup.services[service] || "service";
    const words = `${name} away ${spanText(end - from).replace(".0 s", " s")}${byHand ? ", by hand" : ""}`;
    const next = n + 1 < all.length ? scale.x(all[n + 1].from) - 8 : scale.right + 6;
    const [before, after] = [scale.x(from) - 8, scale.x(end) + 8];
    // Beside its own outage or not at all: a label further away would be read as another one's.
    const fits = after >= taken ? [words, name].find((text) => after + pen.widthOf(text) <= next) : "";
    if (fits) {
      pen.text(fits, after, y, { colour: "ink", halo: true });
      taken = after + pen.widthOf(fits) + 8;
    } else if (before - pen.widthOf(words) > Math.max(scale.left, taken)) {
      pen.text(words, before, y, { colour: "ink", align: "right", halo: true });
      taken = after;
    } else {
      taken = Math.max(taken, after);
    }
  });
  eachMark(pen, MARK.SKEW, (x, n) => {
    const seconds = model.marks[MARK.SKEW].a[n];
    pen.text(`clock ${seconds > 0 ? "+" : "−"}${Math.abs(seconds)} s`, x, y, { size: 10, halo: true });
  }, 50);
}

/** How many settlements are in flight over the time, and how many now. */
function drawFlight(pen, now) {
  const { ctx, scale, model, time } = pen;
  const [top, base] = [scale.height - FOOT.flightTop, scale.height - FOOT.flightBase];
  const steps = Math.max(1, Math.round(scale.right - scale.left));
  const step = (scale.to - scale.from) / steps;
  const curve = flightCurve(model, scale.from, step, steps, time);
  const end = Math.min(steps, Math.floor((time - scale.from) / step));
  let most = 0;
  for (let n = 0; n <= end; n += 1) most = Math.max(most, curve[n]);
  const limit = Math.max(10, niceAbove(most));
  const y = (n) => base - (n / limit) * (base - top);
  if (end > 0) {
    ctx.beginPath();
    ctx.moveTo(scale.left, y(curve[0]));
    for (let n = 1; n <= end; n += 1) {
      if (curve[n] !== curve[n - 1]) {
        ctx.lineTo(scale.left + n, y(curve[n - 1]));
        ctx.lineTo(scale.left + n, y(curve[n]));
      }
    }
    ctx.lineTo(scale.left + end, y(curve[end]));
    ctx.strokeStyle = pen.c("muted");
    ctx.lineWidth = 1.25;
    ctx.stroke();
    ctx.lineTo(scale.left + end, base);
    ctx.lineTo(scale.left, base);
    ctx.fillStyle = pen.c("shade");
    ctx.fill();
  }
  pen.rect("border", scale.left - 5, top, 5, 1);
  pen.text(grouped(limit), scale.left - 9, top + 1, { align: "right" });
  pen.text("0", scale.left - 9, base - 4, { align: "right" });
  pen.text(plural(now, "settlement", "settlements"), 14, top + 19, { colour: "ink" });
}

/** The track below the scrubber: what has run, outages in ink, ticks at reorgs. */
function drawTrack(pen, span) {
  const { scale, model, time } = pen;
  const y = Math.round(scale.height - FOOT.scrub) - 1;
  const x = (at) => scale.left + (Math.min(at, span) / span) * (scale.right - scale.left);
  pen.rect("border", scale.left, y, scale.right - scale.left, 3);
  pen.rect("accent", scale.left, y, x(time) - scale.left, 3);
  for (const { from, to } of outagesAt(model, time)) {
    pen.rect("ink", x(from), y, x(to === to ? to : time) - x(from), 3);
  }
  const { at } = model.marks[MARK.REORG];
  for (let n = 0; n < model.marks[MARK.REORG].until(time); n += 1) {
    pen.rect("border", Math.round(x(at[n])), y - 3, 1, 9);
  }
  pen.text("Scrub", 14, scale.height - FOOT.scrub, { colour: "ink", weight: 600 });
  pen.text(`${clockText(time)} min`, scale.left - 9, scale.height - FOOT.scrub, {
    colour: "ink", align: "right",
  });
}
