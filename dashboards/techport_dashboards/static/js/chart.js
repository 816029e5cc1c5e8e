// One chart: asks for its data, draws it, takes live readings, and tells where somebody zoomed.

import { t } from "./page.js";
import { CONFIG, layout, palette, plotly, traces } from "./drawing.js";
import { fromText, shortTime, toText, wall } from "./time.js";

const GAP = 2.5;                 // expected intervals without a reading that break a line, as on the server
const LEAST = 250;               // ms between two drawings
const AGAIN = [5000, 60000];     // ms after which a live chart asks anew: a bucket, but within these
const touch = matchMedia("(pointer: coarse)").matches;

export class Chart {
  /** `zone` is the pilot's; `colourOf(device)` an index; `onZoom(fromWall, toWall)`, `onReset()`, `onLoad(data)` are told. */
  constructor(figure, { zone, colourOf, onZoom, onReset, onLoad }) {
    Object.assign(this, { figure, zone, colourOf, onZoom, onReset, onLoad });
    this.plot = figure.querySelector(".plot");
    this.visible = false;
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
    return `${path}?${query}`;
  }

  /** Ask for the range and draw what comes. A later call overtakes an earlier one. */
  async load(range) {
    this.range = range;
    this.stale = !this.visible;
    if (this.stale) return;
    this.asked?.abort();
    const asked = new AbortController();
    this.asked = asked;
    clearTimeout(this.timer);
    this.figure.setAttribute("aria-busy", "true");
    try {
      const lang = new URL(location.href).searchParams.get("lang");
      const query = { start: range.start, end: range.end };
      if (range.against) query.against = range.against;
      if (lang) query.lang = lang;
      const answer = await fetch(this.address(`/pilots/${this.figure.dataset.pilot}/chart`, query), { signal: asked.signal });
      const body = await answer.json();
      if (!answer.ok) return this.say(body.detail);
      this.take(body);
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      if (!this.data) this.say(t("no answer from the server"));
    }
    this.figure.removeAttribute("aria-busy");
    this.schedule();
    return undefined;
  }

  take(data) {
    this.data = data;
    this.takenAt = performance.now();
    for (const line of data.lines) line.lastWall = line.x.length ? fromText(line.x.at(-1)) : -Infinity;
    this.draw();
    this.describe();
    this.onLoad(data);
  }

  /** A live chart asks anew when its last bucket is complete, or now and then for readings that came late. */
  schedule() {
    if (this.range.end !== "now") return;
    const wait = this.data?.bucket ? Math.min(Math.max(this.data.bucket, AGAIN[0]), AGAIN[1]) : AGAIN[1];
    this.timer = setTimeout(() => this.load(this.range), wait);
  }

  /** Items of /latest of this chart's quantity and devices. */
  push(items) {
    if (!this.data || this.range.end !== "now") return;
    const devices = (this.figure.dataset.device ?? this.range.device)?.split(",").filter(Boolean) ?? [];
    const mine = items.filter((item) => item.quantity === this.data.quantity && (!devices.length || devices.includes(item.device)));
    for (const item of mine) {
      const line = this.data.lines.find((candidate) => candidate.device === item.device);
      if (!line) { this.load(this.range); return; }  // a device that had nothing in the range
      this.extend(line, wall(Date.parse(item.time), this.zone, this.data.offset), item.value);
      this.newest = item.time;
    }
    if (mine.length) this.drawSoon();
  }

  extend(line, at, value) {
    if (at <= line.lastWall) return;
    line.head = { x: toText(at), y: value };
    if (this.data.every === null) {
      if (line.interval && at - line.lastWall > GAP * line.interval) {
        line.x.push(toText(line.lastWall + line.interval));
        line.y.push(null);
      }
      line.x.push(line.head.x);
      line.y.push(value);
      line.lastWall = at;
    }
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
      if (line.low || this.data.every !== null) continue;
      const gone = line.x.findIndex((x) => x >= this.data.start);
      if (gone > 100) { line.x.splice(0, gone - 1); line.y.splice(0, gone - 1); }
    }
  }

  async draw() {
    if (!this.data) return;
    const { react } = await plotly();
    this.dirty = false;
    this.drawnAt = performance.now();
    const colours = palette();
    if (!this.data.lines.some((line) => line.x.length)) { this.say(t("no readings in this range")); return; }
    if (!this.drawn) this.plot.replaceChildren();
    await react(this.plot, traces(this.data, colours, this.colourOf), layout(this.data, colours, touch), CONFIG);
    if (!this.drawn) this.listen();
    this.drawn = true;
    this.figure.dataset.drawn = this.newest ?? "";
    this.figure.dataset.every = this.data.every ?? "";
  }

  listen() {
    this.plot.on("plotly_relayout", (change) => {
      const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (from !== undefined) this.onZoom(fromText(String(from)), fromText(String(to)));
    });
    this.plot.on("plotly_doubleclick", () => this.onReset());
  }

  say(words) {
    if (this.drawn) window.Plotly.purge(this.plot);
    this.drawn = false;
    const line = document.createElement("p");
    line.className = "wait";
    line.textContent = words;
    this.plot.replaceChildren(line);
    this.figure.removeAttribute("aria-busy");
  }

  /** The same in words: what is shown, a table, and where to get it. */
  describe() {
    const { data, figure } = this;
    figure.querySelector(".shown").textContent = data.shown;
    figure.querySelector(".difference").textContent = data.difference;
    const against = data.lines.some(({ summary }) => summary.difference !== undefined);
    for (const head of figure.querySelectorAll("[data-against]")) head.hidden = !against;
    const columns = ["last", "lowest", "mean", "highest", "count", ...(against ? ["earlier", "difference"] : [])];
    const rows = data.lines.map(({ title, summary }) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = title;
      row.append(head);
      for (const column of columns) row.insertCell().textContent = summary[column] ?? "–";
      return row;
    });
    figure.querySelector("tbody").replaceChildren(...rows);
    figure.querySelector(".summary").textContent = data.summary;
    figure.querySelector(".marks").replaceChildren(...data.marks.map((mark) => {
      const item = document.createElement("li");
      item.textContent = `${shortTime(mark.from)}${mark.to ? ` – ${shortTime(mark.to)}` : ""}: ${mark.text}`;
      return item;
    }));
    const name = figure.querySelector("h3").textContent.trim().replace(/\s+/g, " ");
    this.plot.setAttribute("aria-label", [name, data.summary, data.shown, data.difference].filter(Boolean).join(". "));
    const links = ["csv", "parquet", "json"].map((format) => {
      const link = document.createElement("a");
      link.href = this.address("/api/v1/readings", { ...data.query, format });
      link.textContent = { csv: "CSV", parquet: "Parquet", json: "JSON" }[format];
      return link;
    });
    figure.querySelector(".downloads").replaceChildren(`${t("Get what is shown:")} `, links[0], ", ", links[1], ", ", links[2]);
  }
}
