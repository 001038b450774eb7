// Builds the element: head, toolbar, legend, canvases, scrubber, overlay, keys. No behaviour.

/** An element: tag, attributes (on* are listeners, null is left out), children (texts or nodes). */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Change a text only if it differs: an unchanged text costs no layout. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const MODES = [
  ["time", "Time", "Time"],
  // "Order" alone is the name of the button that orders a fault, elsewhere in the panel.
  ["order", "Order", "Order of stages"],
  ["request", "From request", "From request"],
];
const SORTS = [["arrival", "By arrival"], ["duration", "By duration"], ["outcome", "By outcome"]];
const KEYS = [
  ["Space", "run, pause, resume"], ["S", "a step"], ["↑ ↓", "the lane before, the next one"],
  ["Enter", "its facts"], ["Esc", "close; back to the newest"], ["← →", "a block back, forth (Shift: ten)"],
  ["End", "back to the newest"], ["+ −", "zoom"], ["0", "fit"], ["T O R", "time, order, from request"],
  ["F", "order a fault"], ["/", "filter"], ["?", "these keys"],
];

let views = 0;

/** All parts by name; `root` is the element itself. */
function buildView(compact) {
  views += 1;
  const parts = { prefix: `wbl-${views}` };
  const part = (name, element) => (parts[name] = element);
  part("root", h("div", {
    class: `wbl${compact ? " wbl-compact" : ""}`, tabindex: "0", role: "application",
    "aria-label": "Settlements", "aria-controls": `${parts.prefix}-list`, "aria-roledescription": "settlement lanes",
    "data-lanes": "0", "data-time-ms": "0", "data-state": "empty", "data-redraws": "0",
    // JupyterLab takes no shortcuts of its own from keys in here.
    "data-lm-suppress-shortcuts": "true",
  }));
  parts.root.append(
    buildHead(part),
    h("div", { class: "wbl-centre" }, buildTools(part), part("legend", h("div", { class: "wbl-legend" })),
      buildPlot(part, parts.prefix), part("broken", h("div", { class: "wbl-broken", role: "alert", hidden: true }))),
    part("side", h("div", { class: "wbl-side" })),
    part("drawer", h("div", {
      class: "wbl-side wbl-drawer", hidden: true, role: "region", "aria-label": "Facts of a lane",
    })),
    part("help", buildHelp()),
    part("live", h("div", { class: "wbl-out", "aria-live": "polite" })),
  );
  return parts;
}

function buildHead(part) {
  return h("div", { class: "wbl-head" },
    part("title", h("h2", { class: "wbl-gives" })),
    part("subtitle", h("span", { class: "wbl-muted wbl-gives" })),
    h("span", { class: "wbl-space" }),
    part("block", h("span", { class: "wbl-muted wbl-clock" })),
    h("span", { class: "wbl-muted wbl-clock" }, part("clock", h("b")), part("planned", h("span")),
      part("virtual", h("span", { class: "wbl-virtual" }, ", virtual time"))),
    h("span", { class: "wbl-pill" }, part("pillShape", h("span")), part("pillWord", h("span"))),
    part("pace", h("span", { class: "wbl-muted wbl-clock" })),
    part("trace", h("span", { class: "wbl-muted wbl-clock" })),
    part("keys", h("button", { type: "button", class: "wbl-keys-button", "aria-expanded": "false" },
      h("kbd", {}, "?"), "Keys")),
  );
}

function buildTools(part) {
  const select = (name, label) =>
    h("label", { class: "wbl-select" }, part(name, h("select", { "aria-label": label })));
  const button = (name, text, label) => part(name, h("button", { type: "button", "aria-label": label }, text));
  const tools = h("div", { class: "wbl-tools" },
    part("modes", h("div", { class: "wbl-joined", role: "radiogroup", "aria-label": "Axis" },
      ...MODES.map(([mode, text, label]) => h("button", {
        type: "button", role: "radio", "data-mode": mode, "aria-checked": String(mode === "time"),
        "aria-label": label === text ? null : label,
      }, text)))),
    select("sort", "Sort"), select("filter", "Filter"),
    part("hint", h("span", { class: "wbl-hint" }, "Ctrl + wheel zooms, drag pans, click opens")),
    h("div", { class: "wbl-joined" },
      button("less", "−", "Zoom out"), button("more", "+", "Zoom in"), button("fit", "Fit", null)),
  );
  return tools;
}

function buildPlot(part, prefix) {
  return part("plot", h("div", { class: "wbl-plot" },
    part("pointer", h("canvas", { "aria-hidden": "true" })),
    part("still", h("canvas", { "aria-hidden": "true" })),
    part("growing", h("canvas", { "aria-hidden": "true" })),
    part("scrub", h("input", {
      type: "range", class: "wbl-scrub", min: "0", max: "1", value: "1", step: "any", "aria-label": "Scrub",
    })),
    part("scroll", h("div", { class: "wbl-scroll", hidden: true, "aria-hidden": "true" }, h("i"))),
    part("list", h("ul", { class: "wbl-out", role: "listbox", id: `${prefix}-list`, "aria-label": "Lanes in view" })),
    part("tip", h("div", { class: "wbl-tip", hidden: true, role: "tooltip" })),
    part("over", h("div", { class: "wbl-over", hidden: true })),
  ));
}

function buildHelp() {
  const list = h("dl");
  for (const [keys, words] of KEYS) list.append(h("dt", {}, keys), h("dd", {}, words));
  return h("div", { class: "wbl-help", hidden: true, role: "region", "aria-label": "Keys" },
    h("b", {}, "Keys, with focus inside"), list,
    h("p", { class: "wbl-small" }, "Drag pans, Ctrl + wheel zooms, Shift + drag selects, double click fits."));
}

/** The legend of stages that settlements go through; ends are explained beside their counts. */
function fillLegend(parts, setup, dark) {
  const swatch = (colour, words, more = "") => {
    const box = h("i", { class: more });
    if (more) box.style.setProperty("--wbl-swatch", colour);
    else box.style.background = colour;
    return h("span", {}, box, words);
  };
  const stages = setup.stages.slice(0, setup.first_payout_stage || setup.stages.length);
  const shown = stages.filter((look) => !look.is_end);
  const blue = colourOf(setup.palette, "created", dark);
  parts.legend.replaceChildren(
    ...shown.map((look) => swatch(colourOf(setup.palette, look.colour, dark), look.word.replace("_", " "))),
    h("span", { class: "wbl-space" }),
    ...(shown.length
      ? [swatch(blue, "taken back by a reorg", "wbl-struck"), swatch(blue, "a message of it was lost", "wbl-lost")]
      : []),
  );
}

/** Options of a select, keeping what was chosen: [value, text]. */
function fillSelect(select, options) {
  const wanted = JSON.stringify(options);
  if (select.dataset.options === wanted) return;
  const was = select.value;
  select.dataset.options = wanted;
  select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  if (options.some(([value]) => value === was)) select.value = was;
}

const PILLS = {
  empty: ["disc", "muted"], live: ["disc", "executed"], paused: ["pause", "ink"], done: ["disc", "muted"],
  stopped: ["square", "muted"], broken: ["rule", "alarm"],
};

/** Title, block, time, state by word and shape, pace, trace. */
function fillHead(parts, model, time, scrubbed) {
  const { setup, state } = model;
  const planned = setup.duration_ms;
  const blocks = model.marks[MARK.BLOCK];
  const passed = blocks.until(time);
  let block = scrubbed ? null : state.block;
  if (block === null && passed) block = blocks.a[passed - 1];
  say(parts.title, setup.title);
  say(parts.subtitle, setup.subtitle);
  say(parts.block, block === null ? "" : `block ${grouped(block)}`);
  parts.block.hidden = block === null;
  say(parts.clock, state.state === "empty" || state.state === "loading" ? "" : clockText(time));
  const ended = state.now_ms >= planned;
  const rest = planned && !ended ? ` of ${clockText(planned)} min` : " min";
  const was = ` of ${clockText(state.now_ms)} min, as it was`;
  say(parts.planned, parts.clock.textContent ? (scrubbed ? was : rest) : "");
  parts.virtual.hidden = scrubbed;
  parts.clock.parentElement.hidden = !parts.clock.textContent;
  say(parts.pillWord, state.word || state.state);
  if (parts.pillShape.dataset.state !== state.state) {
    parts.pillShape.dataset.state = state.state;
    const [shape, colour] = PILLS[state.state] || PILLS.empty;
    const still = glyphSvg(shape, `var(--wbl-${colour})`);
    parts.pillShape.innerHTML = state.state === "loading" ? '<i class="wbl-spin"></i>' : still;
  }
  say(parts.pace, state.pace);
  parts.pace.hidden = !state.pace;
  say(parts.trace, state.trace ? `trace ${state.trace.slice(0, 12)}` : "");
  parts.trace.hidden = !state.trace;
}
