// The style of the element. Every selector begins with .wbl; colours come from TOKENS.

/** CSS variables of one theme. */
const cssVariables = (dark) =>
  Object.entries({ ...TOKENS, executed: STAGE_COLOURS.executed })
    .map(([key, pair]) => `--wbl-${key}: ${pair[dark]};`)
    .join(" ");

const CSS = `
.wbl { ${cssVariables(0)} color-scheme: light; }
.wbl[data-theme=dark] { ${cssVariables(1)} color-scheme: dark; }
.wbl, .wbl * { box-sizing: border-box; }
.wbl {
  position: relative; display: grid; grid-template: auto minmax(0, 1fr) / minmax(0, 1fr) var(--wbl-side-width, 232px);
  height: var(--wbl-height, 880px); min-height: 420px; overflow: hidden; background: var(--wbl-ground);
  color: var(--wbl-ink); font: 400 12px/16px ${FONT}; font-variant-numeric: tabular-nums; text-align: left;
}
.wbl :where(h2, h3, p, ul, ol, dl, dd) { margin: 0; padding: 0; font: inherit; list-style: none; }
.wbl b, .wbl strong { font-weight: 600; }
.wbl [hidden] { display: none !important; }
.wbl .wbl-muted { color: var(--wbl-muted); }
.wbl .wbl-out { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.wbl button, .wbl select {
  appearance: none; height: 26px; margin: 0; padding: 0 9px; border: 1px solid var(--wbl-border);
  border-radius: 4px; background: var(--wbl-ground); color: var(--wbl-ink); font: inherit; white-space: nowrap;
}
.wbl[data-theme=dark] button, .wbl[data-theme=dark] select { background: var(--wbl-side); }
.wbl button:hover, .wbl select:hover { border-color: var(--wbl-muted); }
.wbl button:disabled { color: var(--wbl-muted); opacity: .6; }
.wbl:focus-visible, .wbl :focus-visible { outline: 2px solid var(--wbl-accent); outline-offset: 2px; }
.wbl:focus-visible { outline-offset: -2px; }
.wbl button.wbl-main { border-color: var(--wbl-accent); background: var(--wbl-accent); color: var(--wbl-ground); font-weight: 600; }
.wbl svg { display: block; flex: none; }

.wbl .wbl-head {
  grid-column: 1 / -1; display: flex; align-items: center; gap: 4px 12px; min-height: 43px; white-space: nowrap;
  padding: 6px 14px; border-bottom: 1px solid var(--wbl-hairline);
}
.wbl .wbl-head h2 { font-size: 14px; font-weight: 600; line-height: 18px; }
.wbl .wbl-head .wbl-space { flex: 1; }
.wbl .wbl-head > * { flex: none; }
.wbl .wbl-head > .wbl-gives { flex: 0 1 auto; min-width: 0; overflow: hidden; text-overflow: ellipsis; }
.wbl.wbl-middling .wbl-virtual { display: none; }
.wbl .wbl-pill { display: flex; align-items: center; gap: 5px; height: 22px; padding: 0 9px 0 7px; border: 1px solid var(--wbl-border); border-radius: 11px; }
.wbl .wbl-keys-button { display: flex; align-items: center; gap: 8px; }
.wbl kbd { min-width: 16px; padding: 0 4px; border: 1px solid var(--wbl-border); border-radius: 3px; font: inherit; font-size: 10px; line-height: 16px; text-align: center; color: var(--wbl-muted); }

.wbl .wbl-centre { position: relative; display: flex; flex-direction: column; min-width: 0; min-height: 0; }
.wbl .wbl-tools { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 10px; padding: 8px 14px 6px; }
.wbl .wbl-tools .wbl-hint { flex: 1; min-width: 0; overflow: hidden; text-align: right; text-overflow: ellipsis; white-space: nowrap; color: var(--wbl-muted); }
.wbl .wbl-joined { display: flex; }
.wbl .wbl-joined > button { border-radius: 0; margin-left: -1px; }
.wbl .wbl-joined > button:first-child { margin-left: 0; border-radius: 4px 0 0 4px; }
.wbl .wbl-joined > button:last-child { border-radius: 0 4px 4px 0; }
.wbl .wbl-joined > button:hover, .wbl .wbl-joined > button:focus-visible { position: relative; z-index: 1; }
.wbl .wbl-joined > button[aria-checked=true] { background: var(--wbl-ink); border-color: var(--wbl-ink); color: var(--wbl-ground); }
.wbl .wbl-select { position: relative; display: block; }
.wbl .wbl-select select { field-sizing: content; padding-right: 23px; max-width: 190px; }
.wbl .wbl-select::after {
  content: ""; position: absolute; right: 10px; top: 9px; width: 4.5px; height: 4.5px; pointer-events: none;
  border: solid var(--wbl-ink); border-width: 0 1.5px 1.5px 0; transform: rotate(45deg);
}
.wbl .wbl-legend { display: flex; flex-wrap: wrap; gap: 2px 12px; min-height: 18px; padding: 0 14px 4px; font-size: 11px; }
.wbl .wbl-legend > span { display: flex; align-items: center; gap: 6px; white-space: nowrap; }
.wbl .wbl-legend i { width: 13px; height: 7px; }
.wbl .wbl-legend .wbl-space { flex: 1; }
.wbl .wbl-legend .wbl-struck { background: repeating-linear-gradient(135deg, var(--wbl-swatch) 0 1.4px, transparent 1.4px 3.2px); }
.wbl .wbl-legend .wbl-lost { position: relative; background: var(--wbl-swatch); }
.wbl .wbl-legend .wbl-lost::before { content: ""; position: absolute; left: 6px; top: -3px; width: 1px; height: 3px; background: var(--wbl-ink); }

.wbl .wbl-plot { position: relative; flex: 1; min-height: 300px; margin-top: 7px; overflow: hidden; cursor: default; touch-action: pan-y; }
.wbl .wbl-plot.wbl-dragging { cursor: grabbing; }
.wbl .wbl-plot canvas { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
.wbl .wbl-scrub {
  appearance: none; position: absolute; bottom: 13px; height: 20px; margin: 0; background: none; cursor: pointer;
}
.wbl .wbl-scrub::-webkit-slider-thumb { appearance: none; width: 13px; height: 13px; border: 2px solid var(--wbl-accent); border-radius: 50%; background: var(--wbl-ground); }
.wbl .wbl-scrub::-moz-range-thumb { width: 9px; height: 9px; border: 2px solid var(--wbl-accent); border-radius: 50%; background: var(--wbl-ground); }
.wbl .wbl-scrub::-moz-range-track { background: none; }
.wbl .wbl-scroll { position: absolute; right: 3px; width: 9px; }
.wbl .wbl-scroll > i { position: absolute; left: 1px; right: 1px; min-height: 24px; border-radius: 4px; background: var(--wbl-border); }
.wbl .wbl-scroll:hover > i { background: var(--wbl-muted); }
.wbl .wbl-tip {
  position: absolute; z-index: 3; max-width: 300px; padding: 5px 9px 6px; border: 1px solid var(--wbl-border); border-radius: 4px;
  background: var(--wbl-ground); box-shadow: 0 2px 8px rgba(0, 0, 0, .16); pointer-events: none; line-height: 15.5px; left: 0; top: 0;
}

.wbl .wbl-over { position: absolute; z-index: 2; left: 50%; top: 34%; width: min(400px, 88%); padding: 12px; transform: translate(-50%, -30%); background: var(--wbl-ground); text-align: center; }
.wbl .wbl-over h3 { font-size: 14px; font-weight: 600; line-height: 20px; }
.wbl .wbl-over .wbl-buttons { display: flex; justify-content: center; gap: 8px; margin-top: 12px; }
.wbl .wbl-over .wbl-main { min-width: 68px; }
.wbl .wbl-bar { height: 4px; margin: 12px auto 2px; max-width: 256px; border-radius: 2px; background: var(--wbl-hairline); overflow: hidden; }
.wbl .wbl-bar > i { display: block; height: 100%; border-radius: 2px; background: var(--wbl-accent); }
.wbl .wbl-broken { margin: 0 14px 14px; padding: 8px 12px 10px; border: 1px solid var(--wbl-alarm); border-left-width: 4px; border-radius: 4px; }
.wbl .wbl-broken .wbl-buttons { display: flex; gap: 6px; margin-top: 8px; }
.wbl .wbl-spin { display: block; width: 10px; height: 10px; border: 2px solid var(--wbl-border); border-top-color: var(--wbl-accent); border-radius: 50%; animation: wbl-turn 1s linear infinite; }
@keyframes wbl-turn { to { transform: rotate(1turn); } }
@media (prefers-reduced-motion: reduce) { .wbl .wbl-spin { animation: none; } }

.wbl .wbl-side { min-height: 0; padding: 10px 14px; overflow: auto; border-left: 1px solid var(--wbl-hairline); background: var(--wbl-side); }
.wbl .wbl-side section + section { margin-top: 12px; padding-top: 10px; border-top: 1px solid var(--wbl-hairline); }
.wbl .wbl-side h3 { margin-bottom: 4px; font-weight: 600; }
.wbl .wbl-side h3 span { font-weight: 400; color: var(--wbl-muted); }
.wbl .wbl-row { display: flex; align-items: center; justify-content: space-between; gap: 6px; min-height: 20px; }
.wbl .wbl-row > svg, .wbl .wbl-row > .wbl-no { flex: none; width: 15px; }
.wbl .wbl-row > span { flex: 1; }
.wbl .wbl-outcome { display: grid; grid-template-columns: 15px minmax(0, 1fr) 57px 34px; align-items: center; gap: 6px; min-height: 20.5px; white-space: nowrap; }
.wbl .wbl-outcome.wbl-chosen { grid-template-columns: 15px minmax(0, 1fr) 36px 26px 30px; }
.wbl .wbl-outcome > i { position: relative; height: 3px; background: var(--wbl-hairline); }
.wbl .wbl-outcome > i > i { position: absolute; inset: 0 auto 0 0; }
.wbl .wbl-outcome > b { text-align: right; }
.wbl .wbl-outcome > em { text-align: right; font-style: normal; color: var(--wbl-accent); }
.wbl .wbl-figures { display: grid; grid-template-columns: 1fr 1fr auto; gap: 2px 6px; color: var(--wbl-muted); }
.wbl .wbl-figures > b { font-size: 18px; line-height: 26px; color: var(--wbl-ink); white-space: nowrap; }
.wbl .wbl-figures > :nth-child(3n) { text-align: right; }
.wbl .wbl-ecdf { width: 100%; max-width: 240px; height: auto; margin-top: 8px; overflow: visible; }
.wbl .wbl-ecdf text { font: 10px ${FONT}; fill: var(--wbl-muted); }
.wbl .wbl-selected { color: var(--wbl-accent); text-align: right; }
.wbl .wbl-head b { color: var(--wbl-ink); }
.wbl .wbl-alarm { color: var(--wbl-alarm); }
.wbl .wbl-small { font-size: 11px; color: var(--wbl-muted); }
.wbl.wbl-open { --wbl-side-width: 380px; }
.wbl .wbl-facts li { display: grid; grid-template-columns: 46px minmax(0, 1fr); gap: 0 6px; padding: 3px 0; border-bottom: 1px solid var(--wbl-hairline); overflow-wrap: anywhere; }
.wbl .wbl-facts time { color: var(--wbl-muted); }
.wbl .wbl-facts small { grid-column: 2; padding-left: 8px; font-size: 11px; color: var(--wbl-muted); }
.wbl .wbl-facts .wbl-undone > span { text-decoration: line-through; color: var(--wbl-muted); }
.wbl .wbl-facts li > span { border-left: 3px solid transparent; padding-left: 5px; }
.wbl .wbl-drawer-head { display: flex; align-items: center; justify-content: space-between; gap: 8px; margin-bottom: 6px; }
.wbl .wbl-drawer-head h3 { margin: 0; font-size: 14px; }
.wbl .wbl-help { position: absolute; z-index: 4; right: 14px; top: 44px; width: 300px; padding: 10px 14px; border: 1px solid var(--wbl-border); border-radius: 4px; background: var(--wbl-ground); box-shadow: 0 2px 8px rgba(0, 0, 0, .16); }
.wbl .wbl-help dl { display: grid; grid-template-columns: auto 1fr; gap: 3px 10px; margin: 6px 0; }
.wbl .wbl-help dt { color: var(--wbl-ink); font-weight: 600; }

.wbl.wbl-narrow { grid-template: auto auto auto / minmax(0, 1fr); height: auto; }
.wbl.wbl-narrow .wbl-centre { height: min(var(--wbl-height, 760px), 760px); }
.wbl.wbl-narrow .wbl-side { border-left: 0; border-top: 1px solid var(--wbl-hairline); max-height: 640px; }
.wbl.wbl-narrow:not(.wbl-small-width) .wbl-side:not(.wbl-drawer) { columns: 2; column-gap: 28px; }
.wbl.wbl-narrow .wbl-side section { break-inside: avoid; }
.wbl.wbl-narrow .wbl-hint { display: none; }
.wbl.wbl-narrow:not(.wbl-compact) .wbl-head { flex-wrap: wrap; }
.wbl.wbl-small-width .wbl-legend { display: none; }
.wbl.wbl-compact { grid-template-columns: minmax(0, 1fr); height: var(--wbl-height, 390px); min-height: 260px; border: 1px solid var(--wbl-hairline); border-radius: 4px; }
.wbl.wbl-compact :is(.wbl-tools, .wbl-legend, .wbl-side, .wbl-scrub, .wbl-keys-button, .wbl-clock) { display: none; }
.wbl.wbl-compact .wbl-plot { min-height: 120px; margin-top: 8px; }
.wbl.wbl-compact .wbl-head { min-height: 40px; }
.wbl.wbl-compact .wbl-head h2 { font-size: 12px; }
`;

/** One style element for all views of a document or shadow root; the last view removes it. */
function addStyle(host) {
  const root = host.getRootNode();
  const place = root instanceof ShadowRoot ? root : document.head;
  let style = place.querySelector("style[data-wbl]");
  if (!style) {
    style = document.createElement("style");
    style.dataset.wbl = "0";
    style.textContent = CSS;
    place.append(style);
  }
  style.dataset.wbl = String(Number(style.dataset.wbl) + 1);
  return () => {
    style.dataset.wbl = String(Number(style.dataset.wbl) - 1);
    if (style.dataset.wbl === "0") style.remove();
  };
}
