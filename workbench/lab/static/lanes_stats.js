// Figures as of a time, out of the model alone.

/** The smallest value that at least `percent` of the sorted values do not exceed. */
function percentileOf(sorted, percent) {
  if (!sorted.length) return NaN;
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)];
}

/** Outcome of a lane at `time`: an index into the outcomes. */
function outcomeAt(model, lane, time) {
  if (!(model.start[lane] <= time)) return model.NOT_COME;
  if (model.end[lane] <= time) return model.outcome[lane];
  return model.OPEN;
}

/** True if a lane is a settlement in flight: it has begun and has not ended. */
function inFlightAt(model, lane, time) {
  return model.segs[lane].length > 0 && model.start[lane] <= time && !(model.end[lane] <= time);
}

/**
 * All figures of the right column as of `time`: `counts` by outcome (they add up to `total`),
 * sorted `durations` from 402 to delivery, `inFlight`. Payouts are counted only where nothing else is.
 */
function figuresAt(model, time, selected = null) {
  const onlyPayouts = model.payouts > 0 && model.payouts === model.count;
  const counts = new Array(model.setup.outcomes.length).fill(0);
  const chosen = selected ? counts.slice() : null;
  const durations = new Float64Array(model.count);
  let [n, lanes, inFlight, come] = [0, 0, 0, 0];
  for (let lane = 0; lane < model.count; lane += 1) {
    const here = outcomeAt(model, lane, time);
    if (here === model.OPEN && model.segs[lane].length) inFlight += 1;
    if (here !== model.NOT_COME) come += 1;
    if (model.payout[lane] && !onlyPayouts) continue;
    lanes += 1;
    counts[here] += 1;
    if (chosen && selected.has(lane)) chosen[here] += 1;
    if (model.delivered[lane] <= time && here === model.EXECUTED) {
      const took = model.delivered[lane] - model.asked[lane];
      if (took >= 0) durations[n++] = took;
    }
  }
  const total = Math.max(onlyPayouts ? 0 : model.setup.buyers, lanes);
  if (model.NOT_COME >= 0) counts[model.NOT_COME] += total - lanes;
  const sorted = durations.subarray(0, n).sort();
  return {
    counts, chosen, total, inFlight, come, durations: sorted,
    noun: onlyPayouts ? "payouts" : "buyers",
    p50: percentileOf(sorted, 50), p90: percentileOf(sorted, 90), p99: percentileOf(sorted, 99), n,
  };
}

/** Lanes in flight at each of `steps` points from `from` on, `step` apart, up to `time`. */
function flightCurve(model, from, step, steps, time) {
  const change = new Int32Array(steps + 1);
  const place = (at) => Math.max(0, Math.ceil((at - from) / step));
  for (let lane = 0; lane < model.count; lane += 1) {
    if (!model.segs[lane].length || !(model.start[lane] <= time)) continue;
    const first = place(model.start[lane]);
    if (first > steps) continue;
    change[first] += 1;
    const end = model.end[lane];
    if (end <= time) {
      const last = place(end);
      if (last <= steps) change[last] -= 1;
    }
  }
  let running = 0;
  for (let n = 0; n <= steps; n += 1) change[n] = running += change[n];
  return change;
}

/** The six slowest executed lanes as of `time`, and open ones that have taken longer than those. */
function slowestAt(model, time) {
  const done = [];
  let least = -1;
  for (let lane = 0; lane < model.count; lane += 1) {
    if (outcomeAt(model, lane, time) !== model.EXECUTED) continue;
    const took = lifeAt(model, lane, time);
    if (done.length < 6 || took > least) {
      done.push([took, lane]);
      done.sort((x, y) => y[0] - x[0]);
      done.length = Math.min(done.length, 6);
      least = done[done.length - 1][0];
    }
  }
  const found = new Map(done.map(([took, lane]) => [lane, took]));
  if (done.length < 6) return found;
  const second = done[1][0];
  const open = [];
  for (let lane = 0; lane < model.count; lane += 1) {
    if (outcomeAt(model, lane, time) !== model.OPEN) continue;
    const took = lifeAt(model, lane, time);
    if (took >= Math.min(second, 60_000) && took > least) open.push([took, lane]);
  }
  open.sort((x, y) => y[0] - x[0]);
  for (const [took, lane] of open.slice(0, 6)) found.set(lane, took);
  return found;
}

/** How long a lane has lasted as of `time`, from its 402 where there was one. */
function lifeAt(model, lane, time) {
  const asked = model.asked[lane];
  const until = Math.min(time, model.end[lane] === model.end[lane] ? model.end[lane] : time);
  return until - (asked === asked ? asked : model.start[lane]);
}

/** Times when a service was away as of `time`: {service, from, to (NaN: still away), byHand}. */
function outagesAt(model, time) {
  const { [MARK.DOWN]: down, [MARK.UP]: up } = model.marks;
  const found = [];
  for (let n = 0; n < down.until(time); n += 1) {
    let to = NaN;
    for (let m = 0; m < up.until(time); m += 1) {
      if (up.a[m] === down.a[n] && up.at[m] >= down.at[n]) {
        to = up.at[m];
        break;
      }
    }
    found.push({ service: down.a[n], from: down.at[n], to, byHand: down.b[n] === 1 });
  }
  return found;
}

/** Faults so far: [shape or "", label, text]. What never happens in most runs is shown once it has. */
function faultsAt(model, time) {
  const n = (type) => model.marks[type].until(time);
  const reorgs = n(MARK.REORG);
  let blocks = 0;
  for (let i = 0; i < reorgs; i += 1) blocks += model.marks[MARK.REORG].a[i];
  const rows = [
    ["killed", "Services killed", grouped(n(MARK.DOWN))],
    ["reorg", "Reorgs", reorgs ? `${grouped(reorgs)}, ${plural(blocks, "block", "blocks")}` : "0"],
    ["fee", "Fee spikes", grouped(n(MARK.FEE))],
    ["", "HTTP messages lost", grouped(n(MARK.LOST))],
    ["", "RPC errors", grouped(n(MARK.LATE))],
    ["", "Transactions late", grouped(n(MARK.TRANSACTION))],
  ];
  if (n(MARK.POOL)) rows.splice(3, 0, ["pool", "Pool drained", grouped(n(MARK.POOL))]);
  if (n(MARK.SKEW)) rows.push(["", "Clocks wrong", grouped(n(MARK.SKEW))]);
  return rows;
}

/** Lanes to be shown, in their order: those that have come, and that the filter lets through. */
function rowsAt(model, order, filter, time) {
  const rows = [];
  for (const lane of order) {
    const here = outcomeAt(model, lane, time);
    if (here === model.NOT_COME) continue;
    if (filter === "payouts" ? !model.payout[lane] : filter !== "all" && here !== filter) continue;
    rows.push(lane);
  }
  return rows;
}

/** All lanes in the order that was asked for. */
function ordered(model, sort, time) {
  const order = Array.from({ length: model.count }, (_, lane) => lane);
  const start = (lane) => (model.start[lane] === model.start[lane] ? model.start[lane] : Infinity);
  const arrival = (x, y) => start(x) - start(y) || x - y;
  const safe = (x, y) => (start(x) === start(y) ? x - y : arrival(x, y));
  if (sort === "duration") {
    order.sort((x, y) => (lifeAt(model, y, time) || 0) - (lifeAt(model, x, time) || 0) || x - y);
  } else if (sort === "outcome") {
    order.sort((x, y) => outcomeAt(model, x, time) - outcomeAt(model, y, time) || safe(x, y));
  } else {
    order.sort(safe);
  }
  return order;
}
