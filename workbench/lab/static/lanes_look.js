// Colours, shapes, and number formats, without the page.

/** Colours that are not a stage's: on a light ground, and on a dark one. */
const TOKENS = {
  ground: ["#ffffff", "#14171c"],
  side: ["#f7f8f9", "#191d23"],
  ink: ["#1b1f24", "#e6e8eb"],
  muted: ["#59626c", "#9da6b0"],
  hairline: ["#e3e6e9", "#2a2f37"],
  border: ["#cdd2d7", "#3b424c"],
  accent: ["#0b57b8", "#7db2ff"],
  alarm: ["#931a0d", "#ff8a73"],
  shade: ["rgba(27,31,36,0.065)", "rgba(230,232,235,0.075)"],
  band: ["rgba(11,87,184,0.115)", "rgba(125,178,255,0.16)"],
  row: ["rgba(11,87,184,0.09)", "rgba(125,178,255,0.13)"],
};

/** Colours of stages, until a setup brings its own. */
const STAGE_COLOURS = {
  requested: ["#7f8b92", "#6d7479"],
  authorized: ["#4d4f5e", "#9ca4b0"],
  created: ["#2a8dd8", "#8ceaff"],
  funded: ["#0d50c2", "#496bd2"],
  swapped: ["#aa8015", "#ecb840"],
  final: ["#54105f", "#b28dff"],
  executed: ["#2b7f5b", "#74bb8e"],
  refunded: ["#931a0d", "#cf4a30"],
};

const FONT = 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const font = (size, weight = 400) => `${weight} ${size}px ${FONT}`;

/**
 * Outlines around 0,0, about 9 wide, for canvas (Path2D) and page (SVG) alike.
 * `fill`: a solid shape. `tip`: a solid part of a line. `line`: width of its stroke; such a shape is
 * filled with the ground, unless `bare`.
 */
const GLYPHS = {
  disc: { d: "M-4.6,0a4.6,4.6 0 1,0 9.2,0a4.6,4.6 0 1,0 -9.2,0Z", fill: true },
  triangle: { d: "M-5.2,0L4,-4.6L4,4.6Z", fill: true },
  diamond: { d: "M0,-4.7L4.7,0L0,4.7L-4.7,0Z", line: 1.5 },
  cross: { d: "M-3.2,-3.2L3.2,3.2M3.2,-3.2L-3.2,3.2", line: 1.8, bare: true },
  ring: { d: "M-3.4,0a3.4,3.4 0 1,0 6.8,0a3.4,3.4 0 1,0 -6.8,0Z", line: 1.5 },
  chevron: { d: "M-1.8,-3.2L1.6,0L-1.8,3.2", line: 1.6, bare: true },
  dot: { d: "M-1.7,0a1.7,1.7 0 1,0 3.4,0a1.7,1.7 0 1,0 -3.4,0Z", fill: true },
  killed: { d: "M-4.5,-4.5h9v9h-9ZM-2.2,-2.2L2.2,2.2M2.2,-2.2L-2.2,2.2", killed: true },
  reorg: { d: "M0.6,-3.4A3.5,3.5 0 1,1 -2.9,0.8", line: 1.5, bare: true, tip: "M-5.6,0.7L-0.6,0.7L-3.4,-3Z" },
  fee: { d: "M0,-4L4.3,3.6L-4.3,3.6Z", fill: true },
  pool: { d: "M0,4L4.3,-3.6L-4.3,-3.6Z", fill: true },
  hand: { d: "M0,3L3.2,-2.4L-3.2,-2.4Z", fill: true },
  rule: { d: "M0,-5L5,0L0,5L-5,0Z", fill: true },
  pause: { d: "M-3.4,-4h2.4v8h-2.4ZM1,-4h2.4v8h-2.4Z", fill: true },
  square: { d: "M-3.6,-3.6h7.2v7.2h-7.2Z", fill: true },
};

/** A shape for the page. `colour` is any CSS colour. */
function glyphSvg(shape, colour, size = 12) {
  const g = GLYPHS[shape] || GLYPHS.dot;
  const paint = g.fill
    ? `fill="${colour}"`
    : `fill="none" stroke="${g.killed ? "var(--wbl-side)" : colour}" stroke-width="${g.line || 1.4}"`;
  const box = g.killed ? `<path d="M-4.5,-4.5h9v9h-9Z" fill="${colour}"/>` : "";
  const d = g.killed ? "M-2.2,-2.2L2.2,2.2M2.2,-2.2L-2.2,2.2" : g.d;
  return (
    `<svg viewBox="-6 -6 12 12" width="${size}" height="${size}" aria-hidden="true">` +
    `${box}<path d="${d}" ${paint}/>${g.tip ? `<path d="${g.tip}" fill="${colour}"/>` : ""}</svg>`
  );
}

const pathOf = new Map();

/** The same shape on a canvas, centred at x, y; `size` 1 is the size on the page. */
function drawGlyph(ctx, shape, x, y, colour, ground, size = 1) {
  const g = GLYPHS[shape] || GLYPHS.dot;
  if (!pathOf.has(shape)) pathOf.set(shape, new Path2D(g.killed ? "M-4.5,-4.5h9v9h-9Z" : g.d));
  ctx.save();
  ctx.translate(x, y);
  if (size !== 1) ctx.scale(size, size);
  ctx.fillStyle = ctx.strokeStyle = colour;
  if (g.killed) {
    ctx.fill(pathOf.get(shape));
    ctx.strokeStyle = ground;
    ctx.lineWidth = 1.4;
    ctx.stroke(new Path2D("M-2.2,-2.2L2.2,2.2M2.2,-2.2L-2.2,2.2"));
  } else if (g.fill) {
    ctx.lineWidth = 2;
    ctx.strokeStyle = ground;
    ctx.stroke(pathOf.get(shape));
    ctx.fill(pathOf.get(shape));
  } else {
    ctx.lineWidth = g.line;
    if (!g.bare) {
      ctx.fillStyle = ground;
      ctx.fill(pathOf.get(shape));
    }
    ctx.stroke(pathOf.get(shape));
    if (g.tip) {
      ctx.fillStyle = colour;
      ctx.fill(new Path2D(g.tip));
    }
  }
  ctx.restore();
}

const pad2 = (n) => String(n).padStart(2, "0");
const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

/** 224000 -> "3:44"; from an hour on "1:03:44". With `tenths` "3:44.5". */
function clockText(ms, tenths = false) {
  const sign = ms < 0 ? "−" : "";
  const unit = tenths ? 100 : 1000;
  const all = Math.floor(Math.abs(ms) / unit) * (unit / 1000);
  const whole = Math.floor(all + 1e-9);
  const part = tenths ? `.${Math.round((all - whole) * 10)}` : "";
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return sign + (h ? `${h}:${pad2(m)}` : m) + ":" + pad2(s) + part;
}

/** A duration: "31.9 s" below 100 s, "148 s" below 1,000, then "18:20 min". */
function spanText(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 99_950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 1_000_000) return `${Math.round(ms / 1000)} s`;
  return `${clockText(ms)} min`;
}

/** "0x5813…ed44" */
const shortId = (id) => (id.length > 14 ? `${id.slice(0, 6)}…${id.slice(-4)}` : id);
const plural = (n, one, many) => `${grouped(n)} ${n === 1 ? one : many}`;

/** A colour by key (a token, or a stage's) on the ground of this theme. */
function colourOf(palette, key, dark) {
  const pair = (palette && palette[key]) || STAGE_COLOURS[key] || TOKENS[key] || TOKENS.muted;
  return pair[dark ? 1 : 0];
}
