// Pages with charts: of a pilot and of a device.

import { Chart } from "./chart.js";
import { connect } from "./live.js";
import { read } from "./page.js";
import { describeRange, ranges } from "./range.js";
import { fromText, keepAges } from "./time.js";
import { showLatest } from "./values.js";

const view = read("view");

// A device has the same colour in every chart of the page, whichever it appears in first.
const order = new Map([...document.querySelectorAll("[data-colour]")].map((item, i) => [item.dataset.colour, i]));
const colourOf = (device) => {
  if (!order.has(device)) order.set(device, order.size);
  return order.get(device);
};

let last = null;
const range = ranges({
  start: view.start,
  end: view.end,
  against: view.against,
  device: view.device,
  shown: () => ({ start: fromText(last.start), end: fromText(last.end) }),
  offset: () => last?.offset,
  onChange: show,
});

const charts = [...document.querySelectorAll("figure.chart")].map((figure) => new Chart(figure, {
  zone: view.zone,
  colourOf,
  onZoom: range.setWalls,
  onReset: range.reset,
  onLoad: (data) => { last = data; describeRange(data.start, data.end, data.zone); },
}));

const pause = connect({
  pilot: view.pilot,
  onReadings: (items) => { showLatest(items); for (const chart of charts) chart.push(items); },
  onResync: () => { if (range.isLive()) for (const chart of charts) if (chart.data) chart.load(chart.range); },
});

function show(wanted) {
  pause(wanted.end !== "now");
  for (const chart of charts) chart.load(wanted);
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) charts.find((chart) => chart.figure === entry.target).see(entry.isIntersecting);
}, { rootMargin: "200px" });
for (const chart of charts) {
  chart.range = range.current();
  chart.stale = true;
  watcher.observe(chart.figure);
}
pause(!range.isLive());
keepAges();
for (const query of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(query).addEventListener("change", () => { for (const chart of charts) if (chart.visible) chart.draw(); });
}
