// Draws the strip of the rate: market, reference with its band, what swaps paid.

/** A polyline of steps through the marks of a type, from the first one to the time. */
function stepLine(pen, type, y) {
  const { ctx, scale, model, time } = pen;
  const { at, a } = model.marks[type];
  const end = model.marks[type].until(Math.min(time, scale.to));
  ctx.beginPath();
  let last = NaN;
  for (let n = Math.max(0, model.marks[type].until(scale.from) - 1); n < end; n += 1) {
    const x = scale.x(at[n]);
    if (last === last) ctx.lineTo(x, last);
    else ctx.moveTo(x, y(a[n]));
    last = y(a[n]);
    ctx.lineTo(x, last);
  }
  if (last === last) ctx.lineTo(scale.x(Math.min(time, scale.to)), last);
  ctx.stroke();
  return last;
}

/** Least and greatest rate as of the time, with room around them. */
function rateRange(model, time) {
  let [low, high] = [Infinity, -Infinity];
  for (const type of [MARK.MARKET, MARK.REFERENCE, MARK.SWAP]) {
    const { a } = model.marks[type];
    for (let n = 0; n < model.marks[type].until(time); n += 1) {
      if (a[n] < low) low = a[n];
      if (a[n] > high) high = a[n];
    }
  }
  if (!(low <= high)) return null;
  const middle = (low + high) / 2;
  const half = Math.max((high - low) * 0.85, middle * 0.012);
  return [middle - half, middle + half];
}

function drawRate(pen) {
  const { ctx, scale, model, time } = pen;
  const range = rateRange(model, time);
  if (!range) return;
  const [low, high] = range;
  const y = (rate) => STRIPS.rateBase - 3 - ((rate - low) / (high - low)) * (STRIPS.rateBase - 6);
  drawBand(pen, y);
  ctx.lineWidth = 1.25;
  ctx.strokeStyle = pen.c("accent");
  ctx.setLineDash([4, 3]);
  stepLine(pen, MARK.REFERENCE, y);
  ctx.setLineDash([]);
  ctx.strokeStyle = pen.c("ink");
  const last = stepLine(pen, MARK.MARKET, y);
  const { a } = model.marks[MARK.SWAP];
  ctx.lineWidth = 1.4;
  ctx.strokeStyle = pen.c("swapped");
  ctx.fillStyle = pen.c("ground");
  ctx.beginPath();
  eachMark(pen, MARK.SWAP, (x, n) => {
    ctx.moveTo(x + 2.2, y(a[n]));
    ctx.arc(x, y(a[n]), 2.2, 0, 2 * Math.PI);
  }, 2);
  ctx.fill();
  ctx.stroke();
  drawRateWords(pen, y, last);
}

/** The band around the reference rate within which a swap is allowed. */
function drawBand(pen, y) {
  const { scale, model, time } = pen;
  const share = (model.setup.band_bps || 0) / 10_000;
  const { at, a } = model.marks[MARK.REFERENCE];
  const end = model.marks[MARK.REFERENCE].until(Math.min(time, scale.to));
  for (let n = Math.max(0, model.marks[MARK.REFERENCE].until(scale.from) - 1); share && n < end; n += 1) {
    const x0 = Math.max(scale.left, scale.x(at[n]));
    const x1 = scale.x(Math.min(n + 1 < end ? at[n + 1] : time, scale.to));
    const top = Math.max(0, y(a[n] * (1 + share)));
    const base = Math.min(STRIPS.rateBase, y(a[n] * (1 - share)));
    if (x1 > x0) pen.rect("band", x0, top, x1 - x0, base - top);
  }
}

function drawRateWords(pen, y, last) {
  const { scale, model, time } = pen;
  const { band_bps: band } = model.setup;
  if (band !== null && model.marks[MARK.REFERENCE].until(time)) {
    const words = `reference, band ± ${+(band / 100).toFixed(2)} %`;
    pen.text(words, scale.left + 8, 50, { colour: "accent", halo: true });
  }
  const end = Math.min(scale.x(time), scale.right);
  if (last === last && end - scale.left > 220) {
    const [base, align] = [last > 38 ? last - 9 : last + 10, "right"];
    pen.text("market", end - 7, base, { colour: "ink", align, halo: true });
  }
  // A key to the rings, where a ring of the market would not be.
  if (model.marks[MARK.SWAP].until(time) && scale.right - scale.left > 260) {
    const x = scale.left + (scale.right - scale.left) / 6;
    const { ctx } = pen;
    ctx.lineWidth = 1.4;
    ctx.strokeStyle = pen.c("swapped");
    ctx.beginPath();
    ctx.arc(x, 6.5, 2.2, 0, 2 * Math.PI);
    ctx.stroke();
    pen.text("paid in a swap", x + 8, 7, { colour: "ink", halo: true });
  }
}

/** Rates at the left of their strip, and the newest one. */
function drawRateTicks(pen) {
  const { scale, model, time } = pen;
  const range = rateRange(model, time);
  if (!range) return;
  const [low, high] = range.map((rate) => rate / 1e8);
  const y = (rate) => STRIPS.rateBase - 3 - ((rate - low) / (high - low)) * (STRIPS.rateBase - 6);
  const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((n) => (high - low) / n <= 4.2);
  const digits = step < 0.01 ? 3 : 2;
  for (let n = Math.ceil(low / step); step && n * step <= high; n += 1) {
    const at = y(n * step);
    if (at >= 0 && at <= STRIPS.rateBase) pen.rect("border", scale.left - 5, Math.round(at), 5, 1);
    // Only where the words beside it leave room.
    if (at > 10 && at < 42) pen.text((n * step).toFixed(digits), scale.left - 7, at, { align: "right" });
  }
  const newest = model.marks[MARK.MARKET].until(time);
  if (newest) {
    const rate = model.marks[MARK.MARKET].a[newest - 1] / 1e8;
    pen.text(rate.toFixed(4), 14, 20, { colour: "ink" });
  }
}
