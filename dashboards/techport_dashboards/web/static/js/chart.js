// One chart: asks for its data, draws it, takes live readings, and tells where somebody looked.

import { root, t } from "./page.js";
import { CONFIG, dressed, plotly, plotlyNow } from "./drawing.js";
import { watchGestures } from "./gestures.js";
import { fromText, toText, wall } from "./time.js";
import { describe } from "./words.js";

const GAP = 2.5;                 // expected intervals without a reading that break a line, as on the server
const ROOM = 0.06;               // of an axis, that stays free beyond a reading that stretches it
const LEAST = 250;               // ms between two drawings
const LATE = 1000;               // ms after which late readings are asked for
const RETRY = 2000;              // ms after which what the server did not answer is asked for again
const AGAIN = [5000, 60000];     // ms after which a live chart asks anew: a bucket, but within these

export class Chart {
  /** `zone` is the pilot's; `onZoom(chart, fromWall, toWall)`, `onReset()`, `onPoint(chart, wall)`, `onLoad(data)` and
   * `onDraw(chart)` are told. */
  constructor(figure, { zone, ...told }) {
    Object.assign(this, { figure, zone, ...told });
    this.plot = figure.querySelector(".plot");
    this.visible = false;
    this.stale = true;
    this.data = null;
    this.range = null;
    this.drawnAt = 0;
  }

  see(visible) {
    this.visible = visible;
    if (visible && this.stale) this.load(this.range);
    else if (visible && this.dirty) this.draw();
  }

  address(path, more) {
    const { pilot, quantity, device } = this.figure.dataset;
    const query = new URLSearchParams({ quantity, ...more });
    const devices = device ?? this.range.device;
    if (devices) query.set("device", devices);
    else query.delete("device");
    if (path === "/api/v1/readings") query.set("pilot", pilot);
    return `${root}${path}?${query}`;
  }

  /** The first data of a chart at the top of the page is on its way before this script is: its address is in the page. */
  dataAddress(range) {
    const { first, pilot } = this.figure.dataset;
    delete this.figure.dataset.first;
    if (first && range.initial) return first;
    const query = { start: range.start, end: range.end };
    const lang = new URL(location.href).searchParams.get("lang");
    if (range.against) query.against = range.against;
    if (lang) query.lang = lang;
    return this.address(`/pilots/${pilot}/chart`, query);
  }

  /** Where the API has the figure of what is shown, with its title and legend. */
  figureAddress(format) {
    const { start, end, offset } = this.data;
    const query = { start: start + (offset ?? ""), end: end + (offset ?? ""), lang: document.documentElement.lang };
    if (this.range.against) query.against = this.range.against;
    return this.address(`/api/v1/pilots/${this.figure.dataset.pilot}/figure.${format}`, query);
  }

  /** Ask for the range and draw what comes; `failed` tells when nothing did. A later call overtakes an earlier one. `eager`: also where nobody looks yet. */
  async load(range, { eager = false } = {}) {
    this.range = range;
    this.stale = !this.visible && !eager;
    if (this.stale) return;
    this.asked?.abort();
    const asked = new AbortController();
    this.asked = asked;
    clearTimeout(this.timer);
    this.figure.setAttribute("aria-busy", "true");
    this.failed = false;
    try {
      const answer = await fetch(this.dataAddress(range), { signal: asked.signal });
      const body = await answer.json();
      if (answer.ok) this.take(body);
      else if (answer.status >= 500 || answer.status === 429) this.fail();
      else this.say(body.detail);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.fail();
    }
    this.figure.removeAttribute("aria-busy");
    this.schedule();
  }

  /** The server cannot answer now: what is drawn stays, and is asked for again. */
  fail() {
    this.failed = true;
    if (!this.data) this.say(t("the server is not responding"));
  }

  take(data) {
    this.data = data;
    this.takenAt = performance.now();
    this.until = fromText(data.end);
    this.latest = data.figure.data.find(({ meta }) => meta.role === "latest");
    for (const line of data.lines) {
      const trace = this.traceOf("line", line.device);
      Object.assign(line, { x: trace.x, y: trace.y, banded: Boolean(this.traceOf("band", line.device)) });
      line.lastWall = line.x.length ? fromText(line.x.at(-1)) : -Infinity;
    }
    this.dirty = true;
    if (this.visible) this.draw();
    describe(this.figure, data, {
      readingsAt: (format) => this.address("/api/v1/readings", { ...data.query, format }),
      figureAt: (format) => this.figureAddress(format),
    });
    this.onLoad(data);
  }

  traceOf(role, device) {
    return this.data.figure.data.find(({ meta }) => meta.role === role && meta.device === device);
  }

  /** A live chart asks anew when its last bucket is complete, or now and then for readings that came late. */
  schedule() {
    if (this.failed) { this.timer = setTimeout(() => this.load(this.range), RETRY); return; }
    if (this.range.end !== "now") return;
    const wait = this.data?.bucket ? Math.min(Math.max(this.data.bucket, AGAIN[0]), AGAIN[1]) : AGAIN[1];
    this.timer = setTimeout(() => this.load(this.range), wait);
  }

  /** Items as of /latest, in order of time, of this chart's quantity and devices. */
  push(items) {
    if (!this.data || this.range.end !== "now") return;
    const mine = items.filter((item) => this.shows(item));
    for (const item of mine) {
      const line = this.data.lines.find((candidate) => candidate.device === item.device);
      if (!line) { this.load(this.range); return; }  // a device that had nothing in the range
      const at = wall(Date.parse(item.time), this.zone, this.data.offset);
      if (item.quality) this.flag(item.device, at, item.value);
      else if (this.data.form === "bar") this.count(line, at, item.value);
      else this.extend(line, at, item.value);
      this.newest = item.time;
    }
    if (mine.length) this.drawSoon();
  }

  /** Whether a stream is one of this chart's lines, or could be. */
  shows({ quantity, device }) {
    const devices = (this.figure.dataset.device ?? this.range.device)?.split(",").filter(Boolean) ?? [];
    return quantity === this.data.quantity && (!devices.length || devices.includes(device));
  }

  /** Readings came that belong further back: ask anew, with others that come meanwhile. */
  lateSoon(streams) {
    if (!this.data || this.late || this.range.end !== "now" || !streams.some((stream) => this.shows(stream))) return;
    this.late = setTimeout(() => { this.late = null; if (this.range.end === "now") this.load(this.range); }, LATE);
  }

  /** A flagged reading is shown as such, and stretches no axis. */
  flag(device, at, value) {
    const trace = this.traceOf("flagged", device);
    if (!trace) { this.lateSoon([{ quantity: this.data.quantity, device }]); return; }
    const [low, high] = this.data.figure.layout.yaxis.range ?? [-Infinity, Infinity];
    trace.x.push(toText(at));
    trace.y.push(Math.min(Math.max(value, low), high));
    trace.customdata.push(value);
    trace.marker.symbol.push(value > high ? "triangle-up-open" : value < low ? "triangle-down-open" : "x-thin-open");
  }

  /** A count is added to its slot. What came before the chart was asked for is in it already. */
  count(line, at, value) {
    if (at <= this.until || !line.x.length) return;
    const begin = line.lastWall + Math.floor((at - line.lastWall) / this.data.bucket) * this.data.bucket;
    if (begin > line.lastWall) {
      line.x.push(toText(begin));
      line.y.push(0);
      line.lastWall = begin;
    }
    line.y[line.y.length - 1] += value;
    this.stretch(this.data.lines.reduce((sum, { x, y }) => sum + (x.at(-1) === line.x.at(-1) ? y.at(-1) : 0), 0));
  }

  extend(line, at, value) {
    if (at < line.lastWall) { this.insert(line, at, value); return; }
    if (at === line.lastWall && this.data.every === null) { line.y[line.y.length - 1] = value; return; }
    this.stretch(value);
    if (this.latest) {
      const place = this.latest.meta.devices.indexOf(line.device);
      this.latest.x[place] = toText(at);
      this.latest.y[place] = value;
    }
    if (this.data.every !== null) return;
    if (line.interval && at - line.lastWall > GAP * line.interval) {
      line.x.push(toText(line.lastWall + line.interval));
      line.y.push(null);
    }
    line.x.push(toText(at));
    line.y.push(value);
    line.lastWall = at;
  }

  /** An axis with classes or a limit has fixed ends: it grows with a reading that lies beyond them. */
  stretch(value) {
    const { range } = this.data.figure.layout.yaxis;
    if (!range) return;
    const room = ROOM * (range[1] - range[0]);
    if (value > range[1]) range[1] = value + room;
    if (value < range[0]) range[0] = value - room;
  }

  /** A reading that came late takes its place among the others. Buckets are asked for anew when the next is complete. */
  insert(line, at, value) {
    const x = toText(at);
    if (this.data.every !== null || x < this.data.start) return;
    let place = line.x.length;
    while (place > 0 && line.x[place - 1] > x) place -= 1;
    if (line.x[place - 1] === x) { line.y[place - 1] = value; return; }
    line.x.splice(place, 0, x);
    line.y.splice(place, 0, value);
  }

  drawSoon() {
    this.dirty = true;
    if (this.waiting || !this.visible) return;
    this.waiting = setTimeout(() => { this.waiting = null; this.slide(); this.draw(); }, Math.max(0, this.drawnAt + LEAST - performance.now()));
  }

  /** Move a live chart's window on with time, and forget what has left it. */
  slide() {
    const passed = performance.now() - this.takenAt;
    this.takenAt += passed;
    this.data.start = toText(fromText(this.data.start) + passed);
    this.data.end = toText(fromText(this.data.end) + passed);
    for (const line of this.data.lines) {
      if (line.banded || this.data.every !== null) continue;
      const gone = line.x.findIndex((x) => x >= this.data.start);
      if (gone > 100) { line.x.splice(0, gone - 1); line.y.splice(0, gone - 1); }
    }
  }

  async draw(look = {}) {
    if (!this.data) return;
    const { react } = plotlyNow() ?? await plotly();
    this.dirty = false;
    this.drawnAt = performance.now();
    if (!this.data.figure.data.some(({ meta, x }) => ["line", "flagged"].includes(meta.role) && x.length)) { this.say(t("no readings in this range")); return; }
    const first = !this.begun;  // of several drawings at once, the first
    if (first) this.plot.replaceChildren();
    this.begun = true;
    const { data, layout } = dressed(this.data, { unflagged: this.unflagged, ...this.fullSize(), ...look });
    await react(this.plot, data, layout, CONFIG);
    if (first) this.listen();
    this.drawn = true;
    this.figure.dataset.drawn = this.newest ?? "";
    this.figure.dataset.every = this.data.every ?? "";
    this.onDraw(this);
  }

  /** px of a chart that has the whole screen; nothing where it stands among others. */
  fullSize() {
    const full = this.figure.classList.contains("full");
    return full ? { width: this.plot.clientWidth, height: Math.max(240, innerHeight - this.plot.offsetTop - 60) } : {};
  }

  listen() {
    this.plot.on("plotly_relayout", (change) => {  // somebody drew at the axis itself
      const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (from !== undefined && !this.previewing) this.onZoom(this, fromText(String(from)), fromText(String(to)));
    });
    this.unlisten?.abort();
    this.unlisten = new AbortController();
    watchGestures(this, this.unlisten.signal);
  }

  /** px around the plot. */
  get margin() {
    return this.data.figure.layout.margin;
  }

  /** The walls between which the chart's axis lies. */
  get walls() {
    return [fromText(this.data.start), fromText(this.data.end)];
  }

  /** Show another stretch of what is there already, until finer data comes. */
  async preview(from, to) {
    if (this.previewing || !this.drawn) return;
    this.previewing = true;
    await window.Plotly.relayout(this.plot, { "xaxis.range": [toText(from), toText(to)] });
    this.previewing = false;
  }

  say(words) {
    if (this.begun) window.Plotly.purge(this.plot);
    this.unlisten?.abort();
    this.begun = false;
    this.drawn = false;
    const line = document.createElement("p");
    line.className = "wait";
    line.textContent = words;
    this.plot.replaceChildren(line);
    this.figure.removeAttribute("aria-busy");
    this.onDraw(this);
  }
}
