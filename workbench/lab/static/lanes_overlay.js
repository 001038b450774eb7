// The text over an empty or loading picture, and below a broken one.

/** `send`: carry out a command. Only commands of the host have a button. */
function fillOverlay(parts, model, send) {
  const { setup, state } = model;
  const { word, empty, error, progress, progress_text: text } = state;
  const wanted = JSON.stringify([state.state, empty, error, word, progress, text, setup.commands]);
  if (parts.over.dataset.shown === wanted) return;
  parts.over.dataset.shown = wanted;
  parts.over.hidden = state.state !== "empty" && state.state !== "loading";
  parts.broken.hidden = state.state !== "broken";
  const buttons = (...all) => {
    const able = all.filter(([name]) => setup.commands.includes(name));
    const made = able.map(([name, words, main]) =>
      h("button", { type: "button", class: main ? "wbl-main" : null, onclick: () => send(name) }, words));
    return made.length ? [h("div", { class: "wbl-buttons" }, ...made)] : [];
  };
  if (state.state === "empty") fillEmpty(parts.over, empty, buttons);
  else if (state.state === "loading") fillLoading(parts.over, state, buttons);
  else if (state.state === "broken") fillBroken(parts.broken, error, buttons);
}

function fillEmpty(over, empty, buttons) {
  const { title, text } = empty || {};
  over.replaceChildren(
    h("h3", {}, title || "No run yet"),
    h("p", { class: "wbl-muted" }, text || "Lanes appear here as soon as a run begins."),
    ...buttons(["run", "Run", true]),
  );
}

function fillLoading(over, { empty, progress, progress_text: words }, buttons) {
  const { title, text } = { title: "Booting the chain", text: "", ...empty };
  const share = Math.round(100 * Math.min(1, Math.max(0, progress ?? 0)));
  const done = h("i");
  done.style.width = `${share}%`;
  over.replaceChildren(
    h("h3", {}, title),
    h("p", { class: "wbl-muted" }, words || text),
    h("div", {
      class: "wbl-bar", role: "progressbar", "aria-label": title, "aria-valuemin": "0", "aria-valuemax": "100",
      "aria-valuenow": progress === null ? null : String(share),
    }, done),
    ...buttons(["stop", "Stop", false]),
  );
}

function fillBroken(box, error, buttons) {
  const { title, text } = error || { title: "The run broke off.", text: "" };
  box.replaceChildren(
    h("b", {}, title),
    h("p", { class: "wbl-muted" }, text),
    ...buttons(["again", "Play again", true], ["kept", "Open what was kept", false]),
  );
}
