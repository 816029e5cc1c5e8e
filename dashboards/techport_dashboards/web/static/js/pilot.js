// Pages with charts: of a pilot and of a device.

import { Chart } from "./chart.js";
import { follow, tell } from "./crosshair.js";
import { connect } from "./live.js";
import { firstChart, read, t } from "./page.js";
import { complete, printable } from "./paper.js";
import { describeRange, ranges } from "./range.js";
import { fromText, keepAges } from "./time.js";
import { showLatest } from "./values.js";

const LEAD = 60;      // ms that the chart somebody works with is ahead of the others
const IDLE = 1500;    // ms after which charts that nobody has seen yet are fetched too: for printing, and to be there at once

const view = read("view");

let last = null;
let leader = null;
let server = true;   // whether it is there
let clearReading = () => {};
const range = ranges({
  start: view.start,
  end: view.end,
  against: view.against,
  device: view.device,
  shown: () => ({ start: fromText(last.start), end: fromText(last.end) }),
  offset: () => last?.offset,
  onChange: show,
  mayChange: () => server,
});
const flagged = document.getElementById("flagged")?.querySelector("input");

const charts = [...document.querySelectorAll("figure.chart")].map((figure) => new Chart(figure, {
  zone: view.zone,
  onZoom: zoom,
  onReset: range.reset,
  onPoint: (chart, at) => tell(chart, at, eventButton(chart, at)),
  onLoad: (data) => { last = data; describeRange(data.start, data.end, data.zone); showDevices(); },
  onDraw: () => dispatchEvent(new Event("chart-drawn")),
}));

function zoom(chart, from, to) {
  if (!server) { chart.draw(); return; }  // back to the stretch whose readings are here
  leader = chart;
  range.setWalls(from, to);
}

let applied = range.current();  // what charts show, or are being asked for

/** The chart that somebody works with comes first. Until its finer data is there it shows what it has. Where the server
 * does not answer, all stays as it was. */
async function show(wanted) {
  const before = applied;
  applied = wanted;
  pause(wanted.end !== "now");
  clearReading();
  const first = leader ?? charts.find((chart) => chart.visible);
  leader = null;
  const others = () => charts.filter((chart) => chart !== first && chart.range !== wanted);
  const following = setTimeout(() => { if (range.current() === wanted) for (const chart of others()) chart.load(wanted); }, LEAD);
  await first?.load(wanted);
  if (!first?.failed || range.current() !== wanted) return;
  clearTimeout(following);
  applied = before;
  range.undo(before);
  pause(before.end !== "now");
  for (const chart of charts) {
    if (chart.range !== wanted) continue;
    chart.range = before;
    if (chart.data) chart.draw();
  }
}

/** Controls that need the server are there as long as it is. */
function setServer(there) {
  server = there;
  document.body.toggleAttribute("data-offline", !there);
  const controls = ".ranges :is(button, select, input):not(#flagged input), .colours button, .chart-menu [data-event], .add-event";
  for (const control of document.querySelectorAll(controls)) control.disabled = !there;
  for (const link of document.querySelectorAll(".ranges a, .downloads a")) link.setAttribute("aria-disabled", String(!there));
}
document.addEventListener("click", (event) => {
  if (!server && event.target.closest(".ranges a, .downloads a")) event.preventDefault();
});

/** The legend has the devices that are on the page; while some are chosen, also those that could be. */
function showDevices() {
  const shown = new Set(charts.flatMap((chart) => chart.data?.figure.data.map(({ meta }) => meta.device) ?? []));
  const asked = charts.every((chart) => chart.data);
  for (const button of document.querySelectorAll("button[data-colour]")) {
    button.closest("li").hidden = asked && !range.current().device && !shown.has(button.dataset.colour);
  }
  if (flagged) flagged.closest("label").hidden = !charts.some((chart) => chart.data?.figure.data.some(({ meta }) => meta.role === "flagged"));
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) charts.find((chart) => chart.figure === entry.target).see(entry.isIntersecting);
}, { rootMargin: "200px" });
for (const chart of charts) {
  chart.range = range.current();
  if (chart.figure.dataset.first) chart.load(chart.range, { eager: true });
  watcher.observe(chart.figure);
}

const pause = connect({
  pilot: view.pilot,
  onReadings: (items) => { showLatest(items); for (const chart of charts) chart.push(items); },
  onLate: (streams) => { for (const chart of charts) chart.lateSoon(streams); },
  onResync: () => {
    for (const chart of charts) if (chart.failed || (range.isLive() && chart.data)) chart.load(range.current(), { eager: true });
  },
  onServer: setServer,
});
flagged?.addEventListener("change", () => {
  for (const chart of charts) {
    chart.unflagged = !flagged.checked;
    if (chart.drawn) chart.draw();
  }
});
pause(!range.isLive());
firstChart.then(keepAges);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const chart of charts) if (chart.drawn) chart.draw(); });

clearReading = follow(charts, (deed, chart, at) => {
  if (deed === "event") { addEvent(chart, at); return; }
  leader = chart;
  range.step(deed);
});
printable(charts);
for (const chart of charts) {
  for (const button of chart.figure.querySelectorAll("[data-copy]")) button.addEventListener("click", () => take(button, chart));
}

const mayAdd = document.getElementById("event") !== null;

function eventButton(chart, at) {
  if (!mayAdd) return null;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small add-event";
  button.textContent = t("Add an event here");
  button.addEventListener("click", () => addEvent(chart, at));
  return button;
}

async function addEvent(chart, at) {
  if (!mayAdd) return;
  const { ask } = await import("./events.js");
  ask(chart, at, () => { for (const each of charts) if (each.data) each.load(each.range); });
}

for (const chart of charts) {
  const button = chart.figure.querySelector("[data-event]");
  button.hidden = !mayAdd;
  button.addEventListener("click", () => { if (chart.data) addEvent(chart, (chart.walls[0] + chart.walls[1]) / 2); });
}

for (const chart of charts) {
  chart.figure.querySelector("[data-full]").addEventListener("click", async () => (await import("./full.js")).fullScreen(chart));
}

async function take(button, chart) {
  const done = chart.figure.querySelector(".chart-menu .done");
  const { copy } = await import("./copies.js");
  done.textContent = await copy(button.dataset.copy, chart).catch((error) => `${t("something went wrong")}: ${error.message ?? error}`);
}

firstChart.then(async () => {
  if (navigator.connection?.saveData) return;  // then they come when somebody scrolls to them, or prints
  await new Promise((resolve) => setTimeout(resolve, IDLE));
  await complete(charts);
  for (const chart of charts) if (!chart.drawn) await chart.draw();
});
