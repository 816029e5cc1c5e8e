// One line through all charts of the page at the time somebody points at, with the values of every device there.

import { scale } from "./gestures.js";
import { number, t } from "./page.js";
import { fromText, shortTime, toText } from "./time.js";

const STEPS = 100;   // presses of a key from one end of the axis to the other
const BOXED = 4;     // lines up to which a chart that nobody points at shows their values too: more would hide it
const COLUMN = 9;    // devices below each other
const GAP = 2.5;     // expected intervals after which a line's last value is no longer told, as lines are broken
const SVG = "http://www.w3.org/2000/svg";

/** Follow the mouse and the keys over `charts`. `act(name, chart, wall)` does what keys ask for: pan, in, out, reset, event. */
export function follow(charts, act) {
  let waiting = 0;
  let chosen = null;  // the wall that keys have come to

  const show = (source, at) => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => { for (const chart of charts) if (chart.visible && chart.drawn) draw(chart, at, chart === source); });
  };
  const hide = () => {
    cancelAnimationFrame(waiting);
    chosen = null;
    for (const chart of charts) clear(chart);
  };

  for (const chart of charts) {
    const { plot } = chart;
    plot.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "mouse" || !chart.drawn || event.buttons) return;
      const { left, width, wallAt } = scale(chart);
      if (event.clientX < left || event.clientX > left + width) hide();
      else show(chart, wallAt(event.clientX));
    });
    plot.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
    plot.addEventListener("blur", () => { if (chosen !== null) hide(); });
    plot.addEventListener("keydown", (event) => {
      if (!chart.drawn || event.ctrlKey || event.metaKey || event.altKey) return;
      const [from, to] = chart.walls;
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const deed = { "+": "in", "-": "out", Home: "reset", Enter: "event" }[event.key];
      if (event.key === "Escape") { hide(); tell(chart, null); return; }
      if (!step && !deed) return;
      event.preventDefault();
      if (deed) { act(deed, chart, chosen ?? (from + to) / 2); return; }
      if (event.shiftKey) { act(step < 0 ? "earlier" : "later", chart); return; }
      const start = chosen ?? (step < 0 ? to : from);
      chosen = Math.min(to, Math.max(from, start + (step * (to - from)) / STEPS));
      show(null, chosen);
      tell(chart, chosen);
    });
  }
  return () => {  // what was read belongs to a range that is not shown any more
    hide();
    for (const chart of charts) tell(chart, null);
  };
}

function draw(chart, at, pointed) {
  const { from, to, place, box, width, left } = scale(chart);
  if (at < from || at > to) { clear(chart); return; }
  let line = chart.plot.querySelector(".cross");
  if (!line) {
    line = document.createElement("div");
    line.className = "cross";
    line.style.top = `${chart.margin.t}px`;
    chart.plot.append(line);
  }
  line.style.left = `${place(at) - box.left}px`;
  if (!pointed && chart.data.lines.length > BOXED) { chart.plot.querySelector(".tip")?.remove(); return; }
  const tip = chart.plot.querySelector(".tip") ?? chart.plot.appendChild(Object.assign(document.createElement("div"), { className: "tip" }));
  tip.replaceChildren(...described(chart, at));
  tip.classList.toggle("wide", chart.data.lines.length > COLUMN);
  const onTheLeft = place(at) > left + width / 2;
  tip.style.left = onTheLeft ? "auto" : `${place(at) - box.left + 10}px`;
  tip.style.right = onTheLeft ? `${box.right - place(at) + 10}px` : "auto";
}

function clear(chart) {
  for (const part of chart.plot.querySelectorAll(".cross, .tip")) part.remove();
}

/** Say under the chart what its lines were at a time; with `action`, a button that does something about it. */
export function tell(chart, at, action) {
  const place = chart.figure.querySelector(".readout");
  place.hidden = at === null;
  if (at === null) { place.replaceChildren(); return; }
  place.replaceChildren(...described(chart, at), ...(action ? [action] : []));
}

/** The time and the value of every device then: the same where somebody points, taps or reads by keys. */
function described(chart, at) {
  const { lines, unit, decimals, form, figure, states } = chart.data;
  const text = toText(at);
  const written = (y) => (states.length ? states[y] ?? number(y, 2) : number(y, decimals));
  const rows = lines.map((line) => ({ line, y: valueAt(line, at, text, chart.data.bucket), title: line.title }));
  const told = rows.filter(({ y }) => y !== null).sort((a, b) => b.y - a.y);
  const before = figure.data.filter(({ meta }) => meta.role === "earlier");
  const when = document.createElement("span");
  when.className = "when";
  when.textContent = [shortTime(slot(chart, text)), unit].filter(Boolean).join(" · ");
  if (!told.length) return [when, Object.assign(document.createElement("span"), { textContent: t("no readings here") })];
  const list = document.createElement("ul");
  list.className = "told";
  list.append(...told.map(({ line, y, title }) => {
    const earlier = before.find(({ meta }) => meta.device === line.device);
    const then = earlier ? lastAt(earlier, text) : null;
    return entry(line, title, written(y), then === null ? "" : `${t("earlier")} ${written(then)}`);
  }));
  if (form === "bar" && told.length > 1) list.append(entry(null, t("sum"), written(told.reduce((sum, { y }) => sum + y, 0)), ""));
  return [when, list];
}

function entry(line, title, value, more) {
  const item = document.createElement("li");
  if (line) item.append(stroke(line.colour));
  const name = Object.assign(document.createElement("span"), { textContent: title });
  const figure = Object.assign(document.createElement("strong"), { textContent: value });
  item.append(name, figure);
  if (more) item.append(Object.assign(document.createElement("small"), { textContent: more }));
  return item;
}

/** A device's stroke, as the legend has it. */
function stroke(colour) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 14 8", width: 14, height: 8, "aria-hidden": "true" })) svg.setAttribute(name, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", "M0 4H14");
  path.setAttribute("class", `line-${(colour % 8) + 1}${["", " dot", " dash"][Math.floor(colour / 8) % 3]}`);
  svg.append(path);
  return svg;
}

/** The bucket that a time is in begins with the last point before it; a reading has its own time. */
function slot(chart, text) {
  if (chart.data.every === null) return text;
  const begins = chart.data.lines.map(({ x }) => x[indexBefore(x, text)]).filter(Boolean).sort();
  return begins.at(-1) ?? text;
}

/** The line's value at a time, unless that is in a hole, or long after its last. */
function valueAt(line, at, text, bucket) {
  const index = indexBefore(line.x, text);
  if (index < 0) return null;
  const expected = Math.max(line.interval ?? 0, bucket ?? 0);
  if (expected && at - fromText(line.x[index]) > GAP * expected) return null;
  return line.y[index];
}

function lastAt({ x, y }, text) {
  const index = indexBefore(x, text);
  return index < 0 ? null : y[index];
}

/** The place of the last point at or before a time; -1 for none. */
function indexBefore(x, text) {
  let [low, high] = [0, x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] <= text) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
