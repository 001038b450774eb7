// The right column: outcomes, durations, rules, money, faults; and the drawer of one lane's facts.

/** Fill the right column with the figures as of `time`. */
function fillSide(parts, model, time, figures, dark) {
  const side = parts.side;
  if (!side.firstChild) buildSide(parts);
  fillOutcomes(parts, model, figures, dark);
  fillDurations(parts, figures);
  const { rules, money } = model.state;
  const asked = rules.asked === null ? "" : ` of ${plural(rules.asked, "rule", "rules")}`;
  const alarm = rules.broken ? ' class="wbl-alarm"' : "";
  const lines = [["Broken", `<b${alarm}>${grouped(rules.broken)}</b>${asked}`]];
  if (rules.undone !== null) lines.push(["Delivered, then undone", `<b>${grouped(rules.undone)}</b>`]);
  setHtml(parts.rules, lines.map(([label, value]) => row("", label, value)).join(""));
  parts.money.parentElement.hidden = !money.length;
  setHtml(parts.money, money.map(([label, text]) => row("", escaped(label), escaped(text))).join(""));
  const faults = faultsAt(model, time);
  setHtml(parts.faults, faults.map(([shape, label, text]) =>
    row(shape ? glyphSvg(shape, "var(--wbl-ink)") : '<span class="wbl-no"></span>', label, escaped(text))).join(""));
}

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const row = (icon, label, value) => `<div class="wbl-row">${icon}<span>${label}</span>${value}</div>`;

/** Only where it differs. All texts in it are escaped or ours. */
function setHtml(element, html) {
  if (element.wblHtml !== html) {
    element.wblHtml = html;
    element.innerHTML = html;
  }
}

function buildSide(parts) {
  const part = (name, tag = "div", more = {}) => (parts[name] = h(tag, more));
  const section = (title, ...children) => h("section", {}, h("h3", {}, title), ...children);
  parts.outcomesOf = h("span");
  const outcomes = section("Outcomes ", part("outcomes"));
  outcomes.firstChild.append(parts.outcomesOf);
  parts.side.append(
    outcomes,
    section("Time from 402 to delivery", part("figures", "div", { class: "wbl-figures" }), part("ecdf"),
      part("small", "p", { class: "wbl-small" })),
    section("Rules", part("rules")),
    section("Money, delivered purchases", part("money")),
    section("Faults so far", part("faults")),
  );
}

function fillOutcomes(parts, model, figures, dark) {
  say(parts.outcomesOf, `of ${grouped(figures.total)} ${figures.noun}`);
  const rows = model.setup.outcomes.map((look, n) => {
    const count = figures.counts[n];
    const colour = colourOf(model.setup.palette, look.colour, dark);
    const bar = look.word === "open" ? "var(--wbl-accent)" : look.word === "not_come" ? "var(--wbl-border)" : colour;
    const share = figures.total ? (100 * count) / figures.total : 0;
    const icon = glyphSvg(look.shape, look.word === "not_come" ? "var(--wbl-border)" : colour, 14);
    return (
      `<div class="wbl-outcome${figures.chosen ? " wbl-chosen" : ""}" data-outcome="${escaped(look.word)}">` +
      `${icon}<span>${escaped(look.label)}</span>` +
      `<i><i style="width:${share.toFixed(2)}%;background:${bar}"></i></i>` +
      `${figures.chosen ? `<em>${grouped(figures.chosen[n])}</em>` : ""}<b>${grouped(count)}</b></div>`
    );
  });
  const head = figures.chosen ? `<p class="wbl-small wbl-selected">selected, all</p>` : "";
  setHtml(parts.outcomes, head + rows.join(""));
}

function fillDurations(parts, figures) {
  const { p50, p90, p99, n } = figures;
  setHtml(parts.figures,
    `<span>p50</span><span>p90</span><span>n</span><b data-figure="p50">${spanText(p50)}</b>` +
    `<b data-figure="p90">${spanText(p90)}</b><b data-figure="n">${grouped(n)}</b>`);
  say(parts.small, n < 100 ? "p99 is not shown below n = 100." : `p99 ${spanText(p99)}`);
  setHtml(parts.ecdf, ecdfSvg(figures));
}

const ECDF = { left: 31, right: 191, top: 6, base: 71, width: 203, height: 88 };

/** The share delivered by each duration, with p50 and p90 on it. At most a step a pixel. */
function ecdfSvg({ durations, p50, p90, n }) {
  const { left, right, top, base, width, height } = ECDF;
  const most = n ? durations[n - 1] : 100_000;
  const unit = niceAbove(most / 4000); // seconds between ticks
  const steps = Math.max(1, Math.ceil(most / 1000 / unit));
  const limit = steps * unit * 1000;
  const x = (ms) => (left + (ms / limit) * (right - left)).toFixed(1);
  const y = (share) => (base - share * (base - top)).toFixed(1);
  const text = (at, down, words, more) => `<text x="${at}" y="${down}" ${more}>${words}</text>`;
  const parts = [0, 0.5, 0.9, 1].map((share) => `<path d="M${left},${y(share)}H${right}" stroke="var(--wbl-hairline)"/>`);
  for (const share of [0, 0.5, 1]) {
    parts.push(text(left - 5, +y(share) + 3.5, `${share * 100} %`, 'text-anchor="end"'));
  }
  for (let i = 0; i <= steps; i += 1) {
    const [words, more] = [`${+(i * unit).toFixed(2)}`, 'text-anchor="middle"'];
    const last = i === steps;
    parts.push(text(x(i * unit * 1000), height - 3, last ? `${words} s` : words, last ? 'text-anchor="end" dx="10"' : more));
  }
  if (n) parts.push(...ecdfCurve(durations, x, y), ecdfPoint(x(p50), y(0.5)), ecdfPoint(x(p90), y(0.9)));
  return (
    `<svg class="wbl-ecdf" viewBox="0 0 ${width} ${height}" role="img" aria-label="Share delivered by duration">` +
    `${parts.join("")}</svg>`
  );
}

function ecdfCurve(durations, x, y) {
  const n = durations.length;
  let path = `M${ECDF.left},${ECDF.base}`;
  for (let i = 0; i < n; i += 1) {
    const here = x(durations[i]);
    if (i + 1 < n && x(durations[i + 1]) === here) continue;
    path += `H${here}V${y((i + 1) / n)}`;
  }
  return [`<path d="${path}H${ECDF.right}" fill="none" stroke="var(--wbl-executed)" stroke-width="1.5"/>`];
}

const ecdfPoint = (x, y) =>
  `<path d="M${x},${y}V${ECDF.base}" stroke="var(--wbl-ink)" stroke-dasharray="2 2"/>` +
  `<circle cx="${x}" cy="${y}" r="2.8" fill="var(--wbl-executed)"/>`;

/** The drawer of one lane: its title at once, its facts when they have come. */
function fillDrawer(parts, model, lane, facts, close, dark) {
  const button = h("button", { type: "button", onclick: close }, "Close");
  const title = h("h3", { tabindex: "-1" }, facts ? facts.title : model.title(lane));
  parts.drawer.replaceChildren(h("div", { class: "wbl-drawer-head" }, title, button));
  if (!facts) {
    parts.drawer.append(h("p", { class: "wbl-muted" }, "Facts are on their way."));
    return button;
  }
  const list = h("ol", { class: "wbl-facts" });
  for (const fact of facts.lines) {
    const text = h("span", {}, fact.text);
    if (fact.colour) text.style.borderLeftColor = colourOf(model.setup.palette, fact.colour, dark);
    const beside = [fact.source, fact.struck ? "taken back" : "", fact.right].filter(Boolean).join(", ");
    list.append(h("li", { class: fact.struck ? "wbl-undone" : "" },
      h("time", {}, clockText(fact.at_ms, true)), text, beside ? h("small", {}, beside) : null));
  }
  parts.drawer.append(list);
  if (facts.more) parts.drawer.append(h("p", { class: "wbl-small" }, facts.more));
  return button;
}

/** The tooltip of a lane as of `time`. */
function fillTip(parts, model, lane, time) {
  const [, amount, note, who] = model.names[lane];
  const here = outcomeAt(model, lane, time);
  const look = model.setup.outcomes[here];
  const id = h("span", { class: "wbl-muted" }, who ? ` ${shortId(who)}` : "");
  const lines = [h("div", {}, h("b", {}, model.title(lane)), id)];
  if (amount) lines.push(h("div", {}, amount));
  const life = spanText(lifeAt(model, lane, time));
  const n = model.segmentAt(lane, time);
  if (here === model.OPEN && n >= 0) {
    const [stage, from] = model.segs[lane].subarray(n * SEG);
    const word = (model.setup.stages[stage] || { word: "open" }).word;
    lines.push(h("div", {}, `${word} for `, h("b", {}, spanText(time - from)), " so far, in all ", h("b", {}, life)));
  } else {
    const took = model.segs[lane].length ? [", in all ", h("b", {}, life)] : [];
    const why = note ? `: ${note}` : "";
    // "Asked only" has nothing to add to what its note says.
    lines.push(h("div", {}, look.word === "asked_only" && note ? note : look.label.toLowerCase() + why, ...took));
  }
  for (const { service, from, to } of outagesAt(model, time)) {
    const until = Math.min(to === to ? to : time, model.end[lane] <= time ? model.end[lane] : time);
    const shared = until - Math.max(from, model.start[lane]);
    const name = model.setup.services[service] || "service";
    const words = `${name[0].toUpperCase()}${name.slice(1)} away for ${spanText(shared)} of it.`;
    if (shared > 0) lines.push(h("div", { class: "wbl-muted" }, words));
  }
  lines.push(h("div", { class: "wbl-muted" }, "Click or Enter shows its facts."));
  parts.tip.replaceChildren(...lines);
}
