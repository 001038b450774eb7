// Actions of the view: scrub, zoom, choose, open. Mouse and keys call them.

class Actions {
  // --- Time ---

  /** Show the state at `time`; NaN: the newest. */
  scrubTo(time) {
    const now = this.model.state.now_ms;
    this.cursor = time < now ? Math.max(0, time) : NaN;
    this.parts.root.dataset.timeMs = String(Math.round(this.time));
    this.frames.now({ ...ALL, asked: true });
  }

  /** Move by blocks forward or back, to the beginning of a block. */
  step(blocks) {
    const { block_ms: block } = this.model.setup;
    const size = block || 1000;
    const edge = blocks < 0 ? Math.ceil(this.time / size - 1e-6) : Math.floor(this.time / size + 1e-6);
    this.scrubTo((edge + blocks) * size);
  }

  setMode(mode) {
    const { parts, scale } = this;
    if (scale.mode === mode) return;
    scale.mode = mode;
    this.selection = this.selected = null;
    for (const button of parts.modes.children) {
      const on = button.dataset.mode === mode;
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on ? 0 : -1;
    }
    scale.fitted = true;
    this.frames.now({ ...ALL, asked: true });
  }

  setSort(sort) {
    this.sort = sort;
    this.arrivals = -1;
    this.order = [];
    this.frames.now({ ...ALL, asked: true });
  }

  setFilter(filter) {
    this.filter = filter;
    this.scale.scrollTo(0);
    this.frames.now({ ...ALL, asked: true });
  }

  // --- What is in view ---

  moved() {
    this.frames.now({ still: true, growing: true, pointer: true });
    this.placeControls();
    this.later();
  }

  /** Zoom around `x`; without it around the shown time, if that is in view. */
  zoom(factor, x) {
    const { scale, model } = this;
    const line = scale.x(this.time);
    const around = scale.mode === "time" && (this.scrubbed || model.state.state === "live");
    const at = around && line > scale.left && line < scale.right ? line : undefined;
    scale.zoom(factor, x ?? at);
    this.moved();
  }

  fit() {
    this.scale.fit();
    this.moved();
  }

  pan(right, down) {
    this.scale.pan(right);
    if (down && this.scale.overflow) this.scrollBy(-down);
    this.moved();
  }

  /** The view does not follow the newest lane until it is at the end again. */
  scrollBy(pixels) {
    const { scale } = this;
    scale.scrollTo(scale.scroll + pixels);
    this.follow = scale.scroll >= scale.overflow - 1;
    this.moved();
  }

  /** Select lanes that are open at some time between the two; NaN: none. */
  select(from, to) {
    const { model, scale } = this;
    this.selection = from === from ? { from: Math.min(from, to), to: Math.max(from, to) } : null;
    this.selected = null;
    if (this.selection) {
      this.selected = new Set();
      for (const lane of this.rows) {
        const shift = scale.mode === "request" ? model.start[lane] : 0;
        const end = model.end[lane] <= this.time ? model.end[lane] : this.time;
        const outside = model.start[lane] - shift > this.selection.to || end - shift < this.selection.from;
        if (!outside) this.selected.add(lane);
      }
    }
    this.frames.now({ data: true, pointer: true, asked: true });
  }

  // --- One lane ---

  /** The mouse is on a row (-1: on none), at x, y. */
  pointAt(row, x, y) {
    const lane = row >= 0 ? this.rows[row] : -1;
    if (lane !== this.hover) {
      this.hover = lane;
      this.frames.now({ pointer: true });
    }
    this.tip(lane, x, y);
  }

  tip(lane, x, y) {
    const { tip, plot } = this.parts;
    tip.hidden = lane < 0 || lane === this.opened;
    if (tip.hidden) return;
    fillTip(this.parts, this.model, lane, this.time);
    const [width, height] = [tip.offsetWidth, tip.offsetHeight];
    const left = x + 16 + width > plot.clientWidth ? x - 14 - width : x + 16;
    const top = y + 18 + height > plot.clientHeight ? y - 12 - height : y + 18;
    tip.style.transform = `translate(${Math.max(2, left)}px, ${Math.max(2, top)}px)`;
  }

  /** Choose the next row by keys. */
  choose(step) {
    const { rows, scale } = this;
    if (!rows.length) return;
    const here = rows.indexOf(this.chosen);
    const none = step > 0 ? scale.inView[0] : scale.inView[1];
    const row = here < 0 ? none : Math.min(rows.length - 1, Math.max(0, here + step));
    this.chosen = rows[row];
    const [top, base] = [scale.y(row) - scale.pitch, scale.y(row) + scale.pitch];
    if (top < scale.lanesTop) this.scrollBy(top - scale.lanesTop);
    else if (base > scale.lanesBase) this.scrollBy(base - scale.lanesBase);
    this.frames.now({ pointer: true });
    const lane = this.chosen;
    const end = Math.min(this.time, this.model.end[lane] || this.time);
    const x = placer(scale, this.model, lane).x(end);
    this.tip(lane, Math.min(scale.right, Math.max(scale.left, x)), scale.y(row));
    this.listRows();
  }

  /** Request the facts of a lane, and show its drawer. */
  open(lane) {
    const { parts } = this;
    if (this.scale.compact) return this.send({ kind: "open", lane });
    const { activeElement: active } = document;
    if (this.opened < 0) this.before = parts.root.contains(active) ? active : parts.root;
    this.opened = this.chosen = lane;
    this.facts = null;
    this.tip(-1);
    this.showDrawer();
    this.send({ kind: "open", lane });
    this.frames.now({ pointer: true });
    this.listRows();
  }

  showDrawer() {
    const { parts } = this;
    parts.side.hidden = true;
    parts.drawer.hidden = false;
    parts.root.classList.toggle("wbl-open", true);
    const button = fillDrawer(parts, this.model, this.opened, this.facts, () => this.close(), this.dark);
    button.focus({ preventScroll: true });
  }

  showFacts(message) {
    if (message.lane !== this.opened) return;
    this.facts = message;
    this.showDrawer();
  }

  close() {
    if (this.opened < 0) return;
    this.opened = -1;
    this.facts = null;
    this.parts.drawer.hidden = true;
    this.parts.side.hidden = false;
    this.parts.root.classList.toggle("wbl-open", false);
    this.before.focus({ preventScroll: true });
    this.send({ kind: "close" });
    this.frames.now({ pointer: true });
  }

  /** Close the innermost: keys, drawer, selection, scrubbed time, chosen lane. */
  escape() {
    if (!this.parts.help.hidden) this.toggleHelp();
    else if (this.opened >= 0) this.close();
    else if (this.selection) this.select(NaN, NaN);
    else if (this.scrubbed) this.scrubTo(NaN);
    else if (document.activeElement !== this.parts.root) this.parts.root.focus({ preventScroll: true });
    else {
      this.chosen = -1;
      this.tip(-1);
      this.frames.now({ pointer: true });
      this.listRows();
    }
  }

  toggleHelp() {
    const { help, keys } = this.parts;
    help.hidden = !help.hidden;
    keys.setAttribute("aria-expanded", String(!help.hidden));
  }

  command(name) {
    this.send({ kind: "command", name });
  }

  // --- For those who do not see the canvas ---

  /** List the rows in view for screen readers, shortly after they stop changing. */
  later() {
    if (this.listTimer) return;
    this.listTimer = setTimeout(() => {
      this.listTimer = 0;
      this.listRows();
    }, LIST_EVERY_MS);
  }

  listRows() {
    const { parts, model, scale, rows, time } = this;
    const [first, last] = scale.inView;
    const shown = [];
    for (let row = first; row <= last; row += 1) {
      const lane = rows[row];
      const look = model.setup.outcomes[outcomeAt(model, lane, time)];
      const [, amount, note] = model.names[lane];
      const life = model.segs[lane].length ? spanText(lifeAt(model, lane, time)) : "";
      const words = [model.title(lane), amount, look.label.toLowerCase(), note, life];
      shown.push([lane, row, words.filter(Boolean).join(", ")]);
    }
    const key = JSON.stringify([shown, this.chosen]);
    if (key === this.listKey) return;
    this.listKey = key;
    const id = (lane) => `${parts.prefix}-lane-${lane}`;
    parts.list.replaceChildren(...shown.map(([lane, row, words]) => h("li", {
      role: "option", id: id(lane), "data-lane": String(lane), "aria-selected": String(lane === this.chosen),
      "aria-posinset": String(row + 1), "aria-setsize": String(rows.length),
    }, words)));
    if (shown.some(([lane]) => lane === this.chosen)) parts.root.setAttribute("aria-activedescendant", id(this.chosen));
    else parts.root.removeAttribute("aria-activedescendant");
  }

  /** Announce the state; `changed`: the state itself has changed. At most once in five seconds. */
  announce(changed) {
    const { said } = this;
    if (said.timer) return;
    const wait = said.at + SAY_EVERY_MS - performance.now();
    if (wait <= 0 && changed) return this.sayNow();
    said.timer = setTimeout(() => {
      said.timer = 0;
      this.sayNow();
    }, Math.max(wait, 0));
  }

  sayNow() {
    const { model, said, figures } = this;
    said.at = performance.now();
    const counts = model.setup.outcomes
      .map((look, n) => [figures.counts[n], look.label.toLowerCase()])
      .filter(([count]) => count)
      .map(([count, words]) => `${count} ${words}`);
    say(this.parts.live, [model.state.word, `${clockText(model.state.now_ms)} min`, ...counts].join(", "));
  }
}
