// The element: holds the model, the scale and the user's choices, and connects all other parts.

/**
 * @typedef {{receive(message: object, buffers?: (DataView|ArrayBuffer)[]): void, destroy(): void,
 *   picture(): string, look(): {rows: number[], scale: Scale, state: object},
 *   stats(): {redraws: number, lanes: number, inView: number}}} LanesView
 */

/**
 * Show settlements in `host`. `send` takes messages for the host that knows the run.
 * @param {HTMLElement} host
 * @param {(message: object) => void} send
 * @param {{theme?: "auto"|"light"|"dark", compact?: boolean}} [options]
 * @returns {LanesView}
 */
export function mountLanes(host, send, options = {}) {
  const view = new View(host, send, options);
  return {
    receive: (message, buffers) => view.receive(message, buffers),
    destroy: () => view.destroy(),
    picture: () => view.picture(),
    look: () => ({ rows: view.rows, scale: view.scale, state: view.model.state }),
    stats: () => ({
      redraws: view.frames.redraws, lanes: view.model.count,
      inView: view.rows.length ? view.scale.inView[1] - view.scale.inView[0] + 1 : 0,
    }),
  };
}

class View extends Actions {
  constructor(host, send, { theme = "auto", compact = false }) {
    super();
    Object.assign(this, { send, theme, model: new LanesModel(), scale: new Scale(), undo: [] });
    this.scale.compact = compact;
    this.cursor = NaN; // NaN: the newest
    this.rows = [];
    this.order = [];
    this.arrivals = -1;
    this.sort = "arrival";
    this.filter = "all";
    this.slowest = new Map();
    this.figures = figuresAt(this.model, 0);
    this.hover = this.chosen = this.opened = -1;
    this.facts = null;
    this.selection = this.selected = null;
    this.visible = true;
    this.follow = true;
    this.said = { text: "", at: -Infinity, timer: 0 };
    this.listTimer = 0;
    this.undo.push(addStyle(host));
    this.parts = buildView(compact);
    host.append(this.parts.root);
    fillSelect(this.parts.sort, SORTS);
    this.frames = new Frames(this);
    this.pictures = new Pictures(this, send);
    this.watch();
    listenAll(this);
    this.resize();
    this.refresh();
    send({ kind: "hello" });
  }

  /** The time whose state is shown. */
  get time() {
    return this.scrubbed ? this.cursor : this.model.state.now_ms;
  }

  get scrubbed() {
    return this.cursor === this.cursor;
  }

  // --- What is around: theme, motion, size, whether it is seen ---

  watch() {
    const media = (query, act) => {
      const list = matchMedia(query);
      listen(this, list, "change", () => act(list.matches));
      act(list.matches);
    };
    media("(prefers-color-scheme: dark)", (dark) => {
      this.prefersDark = dark;
      this.setTheme();
    });
    media("(prefers-reduced-motion: reduce)", (reduced) => (this.reduced = reduced));
    const observer = new MutationObserver(() => this.setTheme());
    observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    const sizes = new ResizeObserver(() => this.resize());
    sizes.observe(this.parts.root);
    sizes.observe(this.parts.plot);
    const seen = new IntersectionObserver((entries) => {
      this.visible = entries[entries.length - 1].isIntersecting;
      if (this.visible) this.frames.now({ ...ALL });
    });
    seen.observe(this.parts.root);
    this.undo.push(() => [observer, sizes, seen].forEach((each) => each.disconnect()));
  }

  setTheme() {
    const { jpThemeLight } = document.body.dataset;
    const auto = jpThemeLight ? jpThemeLight === "false" : this.prefersDark;
    const dark = this.theme === "auto" ? auto : this.theme === "dark";
    if (dark === this.dark) return;
    this.dark = dark;
    this.parts.root.dataset.theme = dark ? "dark" : "light";
    fillLegend(this.parts, this.model.setup, dark);
    this.frames.now({ ...ALL, asked: true });
  }

  resize() {
    const { root, plot, scrub } = this.parts;
    root.classList.toggle("wbl-narrow", root.clientWidth < 820 && !this.scale.compact);
    root.classList.toggle("wbl-middling", root.clientWidth < 1240);
    root.classList.toggle("wbl-small-width", root.clientWidth < 560);
    if (!fitCanvases(this) || !plot.clientWidth) return;
    scrub.style.left = `${this.scale.left - 6}px`;
    scrub.style.width = `${this.scale.right - this.scale.left + 13}px`;
    this.frames.now({ ...ALL, asked: true });
  }

  // --- From the host ---

  receive(message, buffers) {
    const before = this.model.state.state;
    const what = this.model.receive(message, buffers);
    const { dataset } = this.parts.root;
    if (what === "facts") return this.showFacts(message);
    if (what === "setup") {
      fillLegend(this.parts, this.model.setup, this.dark);
      this.frames.soon({ ...ALL });
    } else if (what === "lanes" || what === "marks") {
      if (message.reset) this.frames.dirty.still = true;
      if (what === "lanes" && message.reset) this.forget();
      this.frames.soon({ data: true, growing: true });
    } else if (what === "state") this.takeState(before);
    dataset.lanes = String(this.model.count);
    dataset.state = this.model.state.state;
    dataset.timeMs = String(Math.round(this.time));
  }

  takeState(before) {
    const { state } = this.model.state;
    this.frames.soon({ data: true, growing: true });
    if (state !== before) {
      this.frames.dirty.still = true;
      if (state === "loading") this.cursor = NaN;
      this.announce(true);
      if (["done", "stopped", "paused", "broken"].includes(state)) this.pictures.ask(true);
    } else if (state === "live") {
      this.announce(false);
    }
    if (state === "live") this.pictures.ask(false);
  }

  /** Another run: choices of the run before are dropped. */
  forget() {
    this.arrivals = -1;
    // Until the rows are computed again, lanes that are gone must not be drawn or listed.
    this.rows = [];
    this.scale.setRows(0, 0);
    this.order = [];
    this.hover = this.chosen = -1;
    this.tip(-1);
    this.parts.root.removeAttribute("aria-activedescendant");
    this.follow = true;
    this.cursor = NaN;
    this.selection = this.selected = null;
    this.scale.fitted = true;
    this.scale.scrollTo(0);
    if (this.opened >= this.model.count) this.close();
  }

  /** Update rows, figures and texts for the shown time. Returns which canvases must be redrawn. */
  refresh() {
    const { model, scale, parts } = this;
    const { time } = this;
    this.figures = figuresAt(model, time, this.selected);
    this.makeOrder();
    const filter = /^\d+$/.test(this.filter) ? Number(this.filter) : this.filter;
    this.rows = rowsAt(model, this.order, filter, time);
    this.slowest = slowestAt(model, time);
    this.span = timeLimit(model);
    scale.setLimit(scale.mode === "time" ? this.span : otherLimit(model, scale.mode, time));
    const wanted = this.filter === "all" ? this.figures.total : 0;
    scale.setRows(this.rows.length, wanted);
    if (this.follow && model.state.state === "live" && !this.scrubbed) scale.scrollTo(Infinity);
    this.checkStill();
    fillHead(parts, model, time, this.scrubbed);
    if (!scale.compact) fillSide(parts, model, time, this.figures, this.dark);
    fillSelect(parts.filter, this.filterOptions());
    fillOverlay(parts, model, (name) => this.command(name));
    this.placeControls();
    this.later();
  }

  /** By arrival the order follows the lanes; any other order stays, and new lanes are appended. */
  makeOrder() {
    const { model } = this;
    if (this.arrivals === model.arrivals) return;
    this.arrivals = model.arrivals;
    if (this.sort === "arrival" || !this.order.length) {
      this.order = ordered(model, this.sort, this.time);
      return;
    }
    const known = new Set(this.order);
    for (const lane of ordered(model, "arrival", this.time)) if (!known.has(lane)) this.order.push(lane);
  }

  /** The still canvas holds ended lanes. It is redrawn when one of those in view changes. */
  checkStill() {
    const { model, scale, rows } = this;
    const [first, last] = scale.inView;
    const parts = [scale.limit, scale.pitch, scale.scroll, this.scrubbed ? this.time : 0];
    for (const type of [MARK.REORG, MARK.DOWN, MARK.UP]) parts.push(model.marks[type].until(this.time));
    if (outagesAt(model, this.time).some(({ to }) => to !== to)) parts.push(this.time);
    for (let row = first; row <= last; row += 1) {
      const lane = rows[row];
      const ended = model.end[lane] <= this.time;
      parts.push(lane, ended ? model.versions[lane] : -1, this.slowest.has(lane) ? 1 : 0);
    }
    const key = parts.join();
    if (key !== this.stillKey) this.frames.dirty.still = true;
    this.stillKey = key;
  }

  filterOptions() {
    const { model, figures } = this;
    const options = [["all", `All ${plural(figures.total, figures.noun.slice(0, -1), figures.noun)}`]];
    model.setup.outcomes.forEach((look, n) => {
      if (n !== model.NOT_COME) options.push([String(n), look.label]);
    });
    if (model.payouts) options.push(["payouts", "Payouts"]);
    return options;
  }

  placeControls() {
    const { parts, scale, model } = this;
    const { scrub, scroll } = parts;
    scrub.max = String(this.span);
    scrub.value = String(this.time);
    scrub.setAttribute("aria-valuetext", `${clockText(this.time)} min`);
    scrub.disabled = !model.count && !this.scrubbed;
    scrub.hidden = scale.compact || scrub.disabled;
    scroll.hidden = scale.overflow <= 0;
    if (scroll.hidden) return;
    scroll.style.top = `${scale.lanesTop + 4}px`;
    scroll.style.height = `${scale.lanesHeight - 8}px`;
    const share = scale.lanesHeight / (scale.lanesHeight + scale.overflow);
    const thumb = Math.max(24, share * (scale.lanesHeight - 8));
    scroll.firstChild.style.height = `${thumb}px`;
    scroll.firstChild.style.top = `${(scale.scroll / scale.overflow) * (scale.lanesHeight - 8 - thumb)}px`;
  }

  // --- The end, and pictures ---

  picture() {
    this.frames.drawNow();
    return mergedCanvas(this).toDataURL("image/png");
  }

  destroy() {
    this.frames.end();
    this.pictures.end();
    clearTimeout(this.said.timer);
    clearTimeout(this.listTimer);
    for (const undo of this.undo.reverse()) undo();
    this.undo = [];
    this.parts.root.remove();
    this.receive = () => {};
  }
}
