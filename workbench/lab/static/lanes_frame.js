// Decides when to draw what: three canvases at device pixels, each only when it has changed.

const LEAST_MS = 1000 / 15; // between redraws for data; interaction gets every animation frame
const LEAST_REDUCED_MS = 1000;
const PICTURE_EVERY_MS = 5000;
const SAY_EVERY_MS = 5000;
const LIST_EVERY_MS = 400;
const ALL = { data: true, still: true, growing: true, pointer: true };

/** Decides when the view draws. `data`: figures and rows must be computed again. */
class Frames {
  constructor(view) {
    this.view = view;
    this.dirty = { ...ALL };
    this.frame = 0;
    this.timer = 0;
    this.lastData = -Infinity;
    this.redraws = 0;
  }

  /** A message came from the host: draw soon, at most 15 times a second. */
  soon(what) {
    Object.assign(this.dirty, what);
    if (this.frame || this.timer) return;
    const { reduced, visible } = this.view;
    const least = reduced || !visible ? LEAST_REDUCED_MS : LEAST_MS;
    const wait = this.lastData + least - performance.now();
    if (wait <= 0) this.request();
    else this.timer = setTimeout(() => this.request(), wait);
  }

  /** The user did something: draw in the next animation frame. */
  now(what) {
    Object.assign(this.dirty, what);
    this.request();
  }

  request() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (!this.frame) this.frame = requestAnimationFrame((at) => this.run(at));
  }

  run() {
    this.frame = 0;
    const at = performance.now();
    const due = at - this.lastData >= (this.view.reduced ? LEAST_REDUCED_MS : LEAST_MS) - 2;
    // While the user pans, messages still wait for their turn.
    if (this.dirty.data && (due || this.dirty.asked)) {
      this.lastData = at;
      this.view.refresh();
      this.dirty.data = this.dirty.asked = false;
    }
    if (this.view.visible) drawAll(this.view, this.dirty);
    this.redraws += 1;
    this.view.parts.root.dataset.redraws = String(this.redraws);
    if (this.dirty.data) this.soon({});
  }

  /** Draw changes at once, also out of sight: for a picture. */
  drawNow() {
    if (fitCanvases(this.view)) Object.assign(this.dirty, ALL);
    if (this.dirty.data) this.view.refresh();
    this.dirty.data = this.dirty.asked = false;
    drawAll(this.view, this.dirty);
  }

  end() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.frame = this.timer = 0;
  }
}

/** Resize canvases to their place, at device pixels. Returns true if that changed. */
function fitCanvases(view) {
  const { parts, scale } = view;
  const [width, height] = [parts.plot.clientWidth, parts.plot.clientHeight];
  const ratio = devicePixelRatio || 1;
  if (scale.width === width && scale.height === height && view.ratio === ratio) return false;
  Object.assign(scale, { width, height });
  view.ratio = ratio;
  for (const name of ["pointer", "still", "growing"]) {
    parts[name].width = Math.max(1, Math.round(width * ratio));
    parts[name].height = Math.max(1, Math.round(height * ratio));
  }
  return true;
}

function penOf(view, name) {
  const ctx = view.parts[name].getContext("2d");
  ctx.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  ctx.lineJoin = "round";
  const pen = new Pen(ctx, view.scale, view.model, view.time, view.dark);
  pen.pale = view.model.state.state === "broken";
  return pen;
}

function drawAll(view, dirty) {
  if (dirty.still) drawStill(view);
  if (dirty.still || dirty.growing) drawGrowing(view);
  if (dirty.pointer || dirty.still) drawPointed(view);
  dirty.still = dirty.growing = dirty.pointer = false;
}

function drawStill(view) {
  const pen = penOf(view, "still");
  drawGround(pen);
  drawLanes(pen, view.rows, false, view.ratio);
  drawLabels(pen, view.rows, view.slowest, false);
}

function drawGrowing(view) {
  const pen = penOf(view, "growing");
  const { scale, model } = view;
  pen.ctx.clearRect(0, 0, scale.width, scale.height);
  const begun = !["empty", "loading"].includes(model.state.state);
  if (begun && scale.mode === "time") drawTime(view, pen);
  if (scale.hasStrips) {
    if (begun) {
      drawRateTicks(pen);
      drawStrips(pen);
    }
    drawFlight(pen, view.figures.inFlight);
  }
  if (!scale.compact) drawTrack(pen, view.span);
  drawLanes(pen, view.rows, true, view.ratio);
  drawLabels(pen, view.rows, view.slowest, true);
  if (begun) drawNotCome(pen, view.figures);
}

/** The line of the shown time: now, the scrubbed time, or where the run broke. */
function drawTime(view, pen) {
  const { model } = view;
  if (model.state.state === "broken" && !view.scrubbed) {
    drawNow(pen, { colour: "alarm", words: `${clockText(view.time)} min` });
  } else if (model.state.state !== "done" || view.scrubbed) drawNow(pen, { colour: "accent" });
}

function drawPointed(view) {
  const row = view.hover >= 0 ? view.rows.indexOf(view.hover) : -1;
  const chosen = view.chosen >= 0 ? view.rows.indexOf(view.chosen) : -1;
  drawPointer(penOf(view, "pointer"), { row, chosen, selection: view.selection });
}

/** All canvases and the background as one. */
function mergedCanvas(view) {
  const { still } = view.parts;
  const merged = document.createElement("canvas");
  merged.width = still.width;
  merged.height = still.height;
  const ctx = merged.getContext("2d");
  ctx.fillStyle = TOKENS.ground[view.dark ? 1 : 0];
  ctx.fillRect(0, 0, merged.width, merged.height);
  for (const name of ["pointer", "still", "growing"]) ctx.drawImage(view.parts[name], 0, 0);
  return merged;
}

/** Sends pictures: at once if a state needs one, else at most every five seconds. */
class Pictures {
  constructor(view, send) {
    this.view = view;
    this.send = send;
    this.timer = 0;
    this.last = -Infinity;
  }

  /** `wait`: until the state's own picture has been drawn. */
  ask(soon) {
    if (soon) clearTimeout(this.timer);
    else if (this.timer) return;
    const wait = soon ? 150 : Math.max(500, this.last + PICTURE_EVERY_MS - performance.now());
    this.timer = setTimeout(() => this.take(), wait);
  }

  take() {
    this.timer = 0;
    this.last = performance.now();
    const { scale, visible, model } = this.view;
    // The last picture is needed also if the page was scrolled away.
    if (!scale.width || (!visible && model.state.state === "live")) return;
    this.view.frames.drawNow();
    const merged = mergedCanvas(this.view);
    // Encoded in the background: a large PNG takes longer than a frame.
    merged.toBlob((blob) => {
      if (!blob || this.ended) return;
      const reader = new FileReader();
      reader.onload = () => {
        if (this.ended) return;
        const png = String(reader.result).split(",")[1];
        this.send({ kind: "picture", png, width: merged.width, height: merged.height });
      };
      reader.readAsDataURL(blob);
    }, "image/png");
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
  }
}
