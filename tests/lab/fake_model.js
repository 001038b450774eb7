// A fake of anywidget's model, and what tests ask a page. `tell`: as if the kernel had sent it.

class FakeModel {
  constructor() { this.sent = []; this.listeners = new Map(); this.values = {}; }
  get(name) { return this.values[name]; }
  set(name, value) { this.values[name] = value; }
  save_changes() {}
  on(name, act) { this.listeners.set(name, [...(this.listeners.get(name) || []), act]); }
  off(name, act) { this.listeners.set(name, (this.listeners.get(name) || []).filter((each) => each !== act)); }
  send(message) { this.sent.push(message); }
  tell(message, text) {
    const buffers = text ? [unaligned(text)] : [];
    for (const act of this.listeners.get("msg:custom") || []) act(message, buffers);
  }
}
/** Bytes that begin at an odd place, as they may. */
function unaligned(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length + 1);
  for (let n = 0; n < raw.length; n += 1) bytes[n + 1] = raw.charCodeAt(n);
  return new DataView(bytes.buffer, 1);
}
/** What each canvas holds at a point of the plot: [r, g, b, a]. */
function pixel(x, y) {
  const out = [];
  for (const canvas of document.querySelectorAll(".wbl-plot canvas")) {
    const ratio = canvas.width / canvas.clientWidth;
    out.push([...canvas.getContext("2d").getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data]);
  }
  return out;
}
/** A number for all pixels of the canvases. */
function sum() {
  let total = 0;
  for (const canvas of document.querySelectorAll(".wbl-plot canvas")) {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let n = 0; n < data.length; n += 4) total = (total * 31 + data[n] * 7 + data[n + 1] * 3 + data[n + 2] + data[n + 3]) % 4294967291;
  }
  return total;
}
const frames = (n) => new Promise((done) => { const next = () => (n-- > 0 ? requestAnimationFrame(next) : done()); next(); });
