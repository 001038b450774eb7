// The model of what the host sent: setup, state, lanes in columns, marks by type. No page, no drawing.

/** Types of marks, as the protocol numbers them. */
const MARK = {
  MARKET: 0, REFERENCE: 1, SWAP: 2, REORG: 3, FEE: 4, DOWN: 5, UP: 6, LOST: 7, LATE: 8,
  POOL: 9, SKEW: 10, RULE: 11, BLOCK: 12, TRANSACTION: 13, ORDERED: 14,
};
const MARK_TYPES = 15;
const SEG = 4; // numbers a segment: stage, from, to, flags
const LANE_HEAD = 7; // numbers before the segments
const NOTHING = new Float64Array(0);

/** Words of outcomes, in the order of the protocol, until a setup brings its own. */
const OUTCOMES = [
  ["executed", "Executed", "executed", "disc"],
  ["refunded", "Refunded", "refunded", "triangle"],
  ["rejected", "Rejected", "ink", "diamond"],
  ["gave_up", "Gave up", "ink", "cross"],
  ["asked_only", "Asked only", "muted", "ring"],
  ["open", "Still open", "ink", "chevron"],
  ["not_come", "Not come yet", "muted", "dot"],
].map(([word, label, colour, shape]) => ({ word, label, colour, shape }));

const NO_SETUP = {
  stages: [], first_payout_stage: 0, outcomes: OUTCOMES, palette: {}, title: "Settlements",
  subtitle: "", about: "", duration_ms: 0, block_ms: 0, band_bps: null, services: [], buyers: 0,
  commands: [],
};
const NO_STATE = {
  state: "empty", word: "Not started", pace: "", now_ms: 0, block: null, trace: "",
  progress: null, progress_text: "", empty: null, error: null,
  rules: { broken: 0, asked: null, undone: null }, money: [], repeat: "",
};

/** Numbers of a message; the buffer may begin at any byte, so it is copied. */
function numbersOf(buffer) {
  if (!buffer) return NOTHING;
  if (buffer instanceof ArrayBuffer) return new Float64Array(buffer.slice(0));
  const { byteOffset, byteLength } = buffer;
  return new Float64Array(buffer.buffer.slice(byteOffset, byteOffset + byteLength));
}

/** Marks of one type in the order of time. */
class Marks {
  constructor() {
    this.at = [];
    this.a = [];
    this.b = [];
  }

  add(at, a, b) {
    // Marks usually come in order; a late one is inserted.
    let n = this.at.length;
    while (n > 0 && this.at[n - 1] > at) n -= 1;
    if (n === this.at.length) {
      this.at.push(at);
      this.a.push(a);
      this.b.push(b);
    } else {
      this.at.splice(n, 0, at);
      this.a.splice(n, 0, a);
      this.b.splice(n, 0, b);
    }
  }

  /** Number of marks at or before `time`. */
  until(time) {
    let [low, high] = [0, this.at.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

class LanesModel {
  constructor() {
    this.setup = NO_SETUP;
    this.state = NO_STATE;
    this.resetLanes();
    this.resetMarks();
  }

  /** Apply one message. Returns what has changed: "setup", "state", "lanes", "marks", "facts" or "". */
  receive(message, buffers) {
    const numbers = () => numbersOf(buffers && buffers[0]);
    switch (message.kind) {
      case "setup":
        this.setup = { ...NO_SETUP, ...message };
        if (!this.setup.outcomes.length) this.setup.outcomes = OUTCOMES;
        this.indexOutcomes();
        return "setup";
      case "state":
        this.state = { ...NO_STATE, ...message };
        return "state";
      case "lanes":
        this.takeLanes(message, numbers());
        return "lanes";
      case "marks":
        this.takeMarks(message, numbers());
        return "marks";
      default:
        return message.kind === "facts" ? "facts" : "";
    }
  }

  resetLanes() {
    this.count = 0;
    this.room = 0;
    this.columns = ["planned", "asked", "end", "delivered", "start"];
    for (const name of this.columns) this[name] = new Float64Array(0);
    this.outcome = new Uint8Array(0);
    this.payout = new Uint8Array(0);
    this.versions = []; // how often each lane was told
    this.segs = [];
    this.lost = [];
    this.names = [];
    this.payouts = 0;
    this.arrivals = 0; // changes of a start: the order of arrival is to be made anew
    this.indexOutcomes();
  }

  indexOutcomes() {
    const at = (word) => this.setup.outcomes.findIndex((look) => look.word === word);
    this.EXECUTED = at("executed");
    this.OPEN = at("open");
    this.NOT_COME = at("not_come");
  }

  resetMarks() {
    this.marks = Array.from({ length: MARK_TYPES }, () => new Marks());
  }

  /** Columns for at least `count` lanes. */
  grow(count) {
    if (count > this.room) {
      const room = Math.max(64, count, this.room * 2);
      for (const name of this.columns) {
        const wider = new Float64Array(room).fill(NaN);
        wider.set(this[name]);
        this[name] = wider;
      }
      for (const name of ["outcome", "payout"]) {
        const wider = new Uint8Array(room);
        if (name === "outcome") wider.fill(this.NOT_COME);
        wider.set(this[name]);
        this[name] = wider;
      }
      this.room = room;
    }
    for (let n = this.count; n < count; n += 1) {
      this.versions.push(0);
      this.segs.push(NOTHING);
      this.lost.push(NOTHING);
      this.names.push([String(n + 1), "", "", ""]);
    }
    this.count = Math.max(this.count, count);
  }

  takeLanes(message, data) {
    if (message.reset) this.resetLanes();
    this.grow(message.lanes || 0);
    for (let at = 0; at + LANE_HEAD <= data.length; ) at = this.takeLane(data, at);
    for (const [lane, name, amount, note, who, payout] of message.names || []) {
      this.grow(lane + 1);
      this.names[lane] = [name, amount, note, who];
      this.versions[lane] += 1;
      this.payouts += (payout ? 1 : 0) - this.payout[lane];
      this.payout[lane] = payout ? 1 : 0;
    }
  }

  /** Read one lane from `at`. Returns where the next one begins. */
  takeLane(data, at) {
    const [lane, outcome, planned, asked, end, delivered, nseg] = data.subarray(at, at + LANE_HEAD);
    this.grow(lane + 1);
    let next = at + LANE_HEAD;
    const segs = data.slice(next, next + nseg * SEG);
    next += nseg * SEG;
    const nlost = data[next] || 0;
    this.versions[lane] += 1;
    this.segs[lane] = segs;
    this.lost[lane] = nlost ? data.slice(next + 1, next + 1 + nlost) : NOTHING;
    this.outcome[lane] = outcome;
    this.planned[lane] = planned;
    this.asked[lane] = asked;
    this.end[lane] = end;
    this.delivered[lane] = delivered;
    const start = this.startOf(outcome, planned, asked, end, segs);
    if (start !== this.start[lane] && (start === start || this.start[lane] === this.start[lane])) {
      this.start[lane] = start;
      this.arrivals += 1;
    }
    return next + 1 + nlost;
  }

  /** When a lane becomes visible: its 402 or its first stage; NaN: it has not come. */
  startOf(outcome, planned, asked, end, segs) {
    const first = segs.length ? segs[1] : NaN;
    if (first <= asked || (first === first && asked !== asked)) return first;
    if (asked === asked) return asked;
    if (outcome === this.NOT_COME) return NaN;
    return planned === planned ? planned : end;
  }

  takeMarks(message, data) {
    if (message.reset) this.resetMarks();
    for (let at = 0; at + 3 < data.length; at += 4) {
      const marks = this.marks[data[at]];
      if (marks) marks.add(data[at + 1], data[at + 2], data[at + 3]);
    }
  }

  /** Name of a lane: "Buyer 12" or "Payout 12". */
  title(lane) {
    return `${this.payout[lane] ? "Payout" : "Buyer"} ${this.names[lane][0]}`;
  }

  /** The number of the segment a lane is in at `time`; -1 before its first one. */
  segmentAt(lane, time) {
    const segs = this.segs[lane];
    let found = -1;
    for (let n = 0; n * SEG < segs.length; n += 1) if (segs[n * SEG + 1] <= time) found = n;
    return found;
  }
}
