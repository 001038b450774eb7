// Mouse and keys. Each handler changes the view through its methods; none draws.

/** Listen until the view ends. */
function listen(view, target, name, act, options) {
  target.addEventListener(name, act, options);
  view.undo.push(() => target.removeEventListener(name, act, options));
}

function listenAll(view) {
  const { parts } = view;
  listen(view, parts.root, "keydown", (event) => onKey(view, event));
  listenTools(view);
  listenPlot(view);
  listenScroll(view);
  listen(view, parts.scrub, "input", () => {
    const [value, most] = [Number(parts.scrub.value), Number(parts.scrub.max)];
    view.scrubTo(value >= most ? NaN : value);
  });
}

function listenTools(view) {
  const { parts } = view;
  listen(view, parts.modes, "click", (event) => {
    const button = event.target.closest("[data-mode]");
    if (button) view.setMode(button.dataset.mode);
  });
  listen(view, parts.modes, "keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const names = MODES.map(([mode]) => mode);
    const next = names[(names.indexOf(view.scale.mode) + step + names.length) % names.length];
    view.setMode(next);
    parts.modes.querySelector(`[data-mode=${next}]`).focus();
  });
  listen(view, parts.sort, "change", () => view.setSort(parts.sort.value));
  listen(view, parts.filter, "change", () => view.setFilter(parts.filter.value));
  listen(view, parts.more, "click", () => view.zoom(1 / 1.5));
  listen(view, parts.less, "click", () => view.zoom(1.5));
  listen(view, parts.fit, "click", () => view.fit());
  listen(view, parts.keys, "click", () => view.toggleHelp());
}

const DRAG_FROM = 4; // pixels: less is a click

function listenPlot(view) {
  const { parts, scale } = view;
  const { plot } = parts;
  const spot = (event) => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const inside = (event) => event.target === plot;
  let drag = null;
  listen(view, plot, "pointerdown", (event) => {
    if (!inside(event) || event.button !== 0) return;
    view.parts.root.focus({ preventScroll: true });
    const [x, y] = spot(event);
    drag = { x, y, lastX: x, lastY: y, moved: false, selects: event.shiftKey && scale.mode !== "order" };
    plot.setPointerCapture(event.pointerId);
  });
  listen(view, plot, "pointermove", (event) => {
    const [x, y] = spot(event);
    if (!drag) {
      view.pointAt(inside(event) ? scale.rowAt(y) : -1, x, y);
      return;
    }
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < DRAG_FROM) return;
    drag.moved = true;
    view.pointAt(-1, x, y);
    if (drag.selects) view.select(scale.value(drag.x), scale.value(x));
    else {
      plot.classList.add("wbl-dragging");
      view.pan(x - drag.lastX, y - drag.lastY);
    }
    [drag.lastX, drag.lastY] = [x, y];
  });
  const end = (event) => {
    if (!drag) return;
    const { moved } = drag;
    drag = null;
    plot.classList.remove("wbl-dragging");
    const [x, y] = spot(event);
    if (moved || event.type === "pointercancel") return;
    const row = scale.rowAt(y);
    if (row >= 0) view.open(view.rows[row]);
    else view.select(NaN, NaN);
    view.pointAt(row, x, y);
  };
  listen(view, plot, "pointerup", end);
  listen(view, plot, "pointercancel", end);
  listen(view, plot, "pointerleave", () => view.pointAt(-1, 0, 0));
  listen(view, plot, "dblclick", (event) => {
    if (!inside(event)) return;
    view.close();
    view.fit();
  });
  listen(view, plot, "wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the plain wheel is the notebook's
    event.preventDefault();
    view.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) * 0.003), spot(event)[0]);
  }, { passive: false });
}

/** The bar at the right of the lanes: drag its thumb, or click above or below it. */
function listenScroll(view) {
  const { parts, scale } = view;
  let held = null;
  const ratio = () => (scale.overflow + scale.lanesHeight) / Math.max(1, scale.lanesHeight);
  listen(view, parts.scroll, "pointerdown", (event) => {
    event.preventDefault();
    if (event.target === parts.scroll) {
      const thumb = parts.scroll.firstChild.getBoundingClientRect();
      view.scrollBy(scale.lanesHeight * (event.clientY < thumb.top ? -0.9 : 0.9));
    } else {
      held = event.clientY;
      parts.scroll.setPointerCapture(event.pointerId);
    }
  });
  listen(view, parts.scroll, "pointermove", (event) => {
    if (held === null) return;
    view.scrollBy((event.clientY - held) * ratio());
    held = event.clientY;
  });
  for (const name of ["pointerup", "pointercancel"]) listen(view, parts.scroll, name, () => (held = null));
}

/** Keys with focus inside. A key that is used is not passed on to the notebook. */
function onKey(view, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.target;
  if (target.tagName === "SELECT" && event.key !== "Escape") return;
  if (target.tagName === "BUTTON" && (event.key === " " || event.key === "Enter")) return;
  const act = keyTable(view, event.shiftKey)[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}

function keyTable(view, shift) {
  const blocks = shift ? 10 : 1;
  const state = view.model.state.state;
  return {
    " ": () => view.command({ live: "pause", paused: "resume" }[state] || "run"),
    s: () => view.command("step"),
    f: () => view.command("fault"),
    ArrowUp: () => view.choose(-1),
    ArrowDown: () => view.choose(1),
    PageUp: () => view.choose(-10),
    PageDown: () => view.choose(10),
    Enter: () => view.chosen >= 0 && view.open(view.chosen),
    Escape: () => view.escape(),
    End: () => view.scrubTo(NaN),
    Home: () => view.scrubTo(0),
    ArrowLeft: () => view.step(-blocks),
    ArrowRight: () => view.step(blocks),
    "+": () => view.zoom(1 / 1.5),
    "=": () => view.zoom(1 / 1.5),
    "-": () => view.zoom(1.5),
    0: () => view.fit(),
    t: () => view.setMode(MODES[0][0]),
    o: () => view.setMode(MODES[1][0]),
    r: () => view.setMode(MODES[2][0]),
    "/": () => view.parts.filter.focus(),
    "?": () => view.toggleHelp(),
  };
}
