// A chart's figure as plotly.js takes it: drawn by the server (charts/plotly_figure.py), here in the page's colours and size.

import { language } from "./page.js";

let coming;
let ready;

/** plotly.js, once it is there: its script loads beside the page's own modules. */
export function plotly() {
  coming ??= new Promise((resolve) => {
    if (window.Plotly) resolve(plotlyNow());
    else document.getElementById("plotly").addEventListener("load", () => resolve(plotlyNow()));
  });
  return coming;
}

/** The same for those who cannot wait, such as a printer; undefined where it has not come yet. */
export function plotlyNow() {
  if (!ready && window.Plotly) {
    registerLocale();
    ready = window.Plotly;
  }
  return ready;
}

function registerLocale() {
  const names = (options, dates) => dates.map((date) => new Intl.DateTimeFormat(language, { ...options, timeZone: "UTC" }).format(date));
  const days = Array.from({ length: 7 }, (_, i) => Date.UTC(2023, 0, 1 + i));
  const months = Array.from({ length: 12 }, (_, i) => Date.UTC(2023, i, 1));
  window.Plotly.register({
    moduleType: "locale",
    name: "page",
    dictionary: {},
    format: {
      days: names({ weekday: "long" }, days),
      shortDays: names({ weekday: "short" }, days),
      months: names({ month: "long" }, months),
      shortMonths: names({ month: "short" }, months),
      date: "%d.%m.%Y",
    },
  });
}

/** Colours by their names in the style sheet; the figure has those of paper. */
const COLOURS = ["--ink", "--quiet", "--line", "--surface", "--envelope", "--accent", "--late",
  ...Array.from({ length: 6 }, (_, i) => `--air-${i + 1}`), ...Array.from({ length: 8 }, (_, i) => `--series-${i + 1}`)];

/** From each colour of paper to what the page has in its place now, light or dark. */
function counterparts() {
  const [page, paper] = [document.documentElement, sheet()].map((element) => getComputedStyle(element));
  const colour = (style, name) => style.getPropertyValue(name).trim();
  return new Map(COLOURS.map((name) => [colour(paper, name), colour(page, name)]));
}

/** An element that has the colours of paper. */
function sheet() {
  let element = document.querySelector(".on-paper");
  if (!element) {
    element = document.createElement("i");
    element.className = "on-paper";
    element.hidden = true;
    document.body.append(element);
  }
  return element;
}

/** A copy of a part of a figure in other colours; readings are shared, not copied. */
function recoloured(part, colours, name = "") {
  if (typeof part === "string") return /colou?r$/.test(name) ? (colours.get(part.slice(0, 7)) ?? part.slice(0, 7)) + part.slice(7) : part;
  if (part === null || typeof part !== "object" || name === "x" || name === "y" || name === "meta") return part;
  if (Array.isArray(part)) return part.map((item) => recoloured(item, colours, name));
  return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, recoloured(value, colours, key)]));
}

/**
 * {data, layout} of what a chart shows. `look` may say a width and a height (px), else the chart fills its place; with
 * `paper` it keeps the colours of paper, with `unflagged` it leaves flagged readings out. Values under the pointer are told by
 * crosshair.js, for every device.
 */
export function dressed({ figure, start, end }, look = {}) {
  const { data, layout } = recoloured(figure, look.paper ? new Map() : counterparts());
  const size = look.width === undefined ? { width: undefined } : { width: look.width, height: look.height, autosize: false };
  return {
    data: data.filter(({ meta, x }) => (meta.role !== "latest" || x.some((at) => at !== null)) && (meta.role !== "flagged" || !look.unflagged)),
    layout: { ...layout, ...size, hovermode: false, xaxis: { ...layout.xaxis, range: [start, end] } },
  };
}

export const CONFIG = {
  displayModeBar: false,
  displaylogo: false,
  showSendToCloud: false,
  showEditInChartStudio: false,
  doubleClick: false,
  responsive: true,
  locale: "page",
};
