// One line through all charts of the page at the time somebody points at, with the values there in words.

import { scale } from "./gestures.js";
import { number, t } from "./page.js";
import { shortTime, toText } from "./time.js";

const STEPS = 100;   // presses of a key from one end of the axis to the other
const TOLD = 6;      // devices whose values are described in words
const BOXED = 4;     // lines up to which a chart that nobody points at shows their values too: more would hide it

/** Follow the mouse and the keys over `charts`. `act(name, chart, wall)` does what keys ask for: pan, in, out, reset, event. */
export function follow(charts, act) {
  let waiting = 0;
  let chosen = null;  // the wall that keys have come to

  const show = (source, at) => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => { for (const chart of charts) if (chart.visible && chart.drawn) draw(chart, at, chart !== source); });
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
}

function draw(chart, at, label) {
  const { from, to, place, box } = scale(chart);
  if (at < from || at > to) { clear(chart); return; }
  let line = chart.plot.querySelector(".cross");
  if (!line) {
    line = document.createElement("div");
    line.className = "cross";
    line.style.top = `${chart.margin.t}px`;
    chart.plot.append(line);
  }
  line.style.left = `${place(at) - box.left}px`;
  if (label && chart.data.lines.length <= BOXED) window.Plotly.Fx.hover(chart.plot, { xval: at, yval: 0 }, "xy");
}

function clear(chart) {
  const line = chart.plot.querySelector(".cross");
  if (!line) return;
  line.remove();
  if (chart.drawn) window.Plotly.Fx.unhover(chart.plot);
}

/** Say under the chart what its lines were at a time; with `action`, a button that does something about it. */
export function tell(chart, at, action) {
  const place = chart.figure.querySelector(".readout");
  place.hidden = at === null;
  if (at === null) { place.replaceChildren(); return; }
  const when = document.createElement("span");
  when.className = "when";
  when.textContent = shortTime(toText(at));
  const { lines, unit, decimals } = chart.data;
  const found = lines.map((line) => [line.title, nearest(line, toText(at))]).filter(([, y]) => y !== null);
  const words = document.createElement("span");
  words.textContent = found.slice(0, TOLD).map(([title, y]) => `${title} ${number(y, decimals)} ${unit}`.trim()).join(" · ")
    || t("no readings here");
  place.replaceChildren(when, words, ...(action ? [action] : []));
}

/** The value of the line's point at or before a time, unless that point is in a hole. */
function nearest({ x, y }, at) {
  let [low, high] = [0, x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] <= at) low = middle + 1;
    else high = middle;
  }
  return low ? y[low - 1] : null;
}
