"use strict";
// Details on hover, touch and arrow keys. Everything said here is in the tables too.
(() => {
  const figure = document.querySelector("figure");
  const tip = document.getElementById("tip");
  if (!figure) return;
  const marks = [...figure.querySelectorAll(".m")];
  const rows = new Map([...document.querySelectorAll("tr[data-k]")].map((r) => [r.dataset.k, r]));
  const bars = new Map();
  const said = new Map();
  for (const mark of marks) {
    const title = mark.querySelector("title");
    said.set(mark, title.textContent);
    title.remove(); // or the browser's own tooltip would cover ours
    if (mark.dataset.k) bars.set(mark.dataset.k, mark);
  }
  let current = null;

  const show = (mark, x, y) => {
    hide();
    current = mark;
    mark.classList.add("on");
    rows.get(mark.dataset.k)?.classList.add("on");
    tip.textContent = said.get(mark);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), innerWidth - width - 8);
    const top = y + 18 + height > innerHeight ? y - height - 12 : y + 18;
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  };
  const hide = () => {
    current?.classList.remove("on");
    for (const row of rows.values()) row.classList.remove("on");
    tip.hidden = true;
  };
  const at = (mark) => {
    mark.scrollIntoView({ block: "nearest" });
    const box = mark.getBoundingClientRect();
    show(mark, box.left + Math.min(box.width, 60), box.bottom - 8);
  };

  figure.addEventListener("pointermove", (event) => {
    const mark = event.target.closest?.(".m");
    if (mark) show(mark, event.clientX, event.clientY);
    else hide();
  });
  figure.addEventListener("pointerdown", (event) => {
    const mark = event.target.closest?.(".m");
    if (mark) show(mark, event.clientX, event.clientY);
  });
  figure.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") { hide(); current = null; return; }
    if (event.key === "Home" || event.key === "End" || step) {
      event.preventDefault();
      const from = current ? marks.indexOf(current) : step > 0 ? -1 : marks.length;
      const to = event.key === "Home" ? 0 : event.key === "End" ? marks.length - 1 : from + step;
      at(marks[(to + marks.length) % marks.length]);
    }
  });
  for (const [key, row] of rows) {
    row.addEventListener("pointerenter", () => { bars.get(key)?.classList.add("on"); row.classList.add("on"); });
    row.addEventListener("pointerleave", () => { bars.get(key)?.classList.remove("on"); row.classList.remove("on"); });
  }
})();
