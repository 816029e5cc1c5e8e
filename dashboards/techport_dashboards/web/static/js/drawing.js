// How a chart's data looks in plotly.js: traces and layout, in the page's own colours.

import { language, t } from "./page.js";

const DASHES = ["solid", "dot", "dash"];
const COLOURS = 8;
export const MARGIN = { l: 46, r: 10, t: 8, b: 42 };  // px around the plot; fixed, so that all charts of a page lie alike
const LABELLED = 6;  // marks of a chart that have their words beside them; the table has all

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

/** Colours of the style sheet, as they are now: light or dark; on paper always light. */
export function palette(paper = false) {
  const style = getComputedStyle(paper ? sheet() : document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return {
    text: colour("--quiet"),
    grid: colour("--line"),
    surface: colour("--surface"),
    envelope: colour("--envelope"),
    accent: colour("--accent"),
    limit: colour("--late"),
    air: Array.from({ length: 6 }, (_, i) => colour(`--air-${i + 1}`)),
    series: Array.from({ length: COLOURS }, (_, i) => colour(`--series-${i + 1}`)),
  };
}

/** An element that has the colours of paper. */
function sheet() {
  let found = document.querySelector(".on-paper");
  if (!found) {
    found = document.createElement("i");
    found.className = "on-paper";
    found.hidden = true;
    document.body.append(found);
  }
  return found;
}

const withAlpha = (colour, alpha) => colour + Math.round(alpha * 255).toString(16).padStart(2, "0");

/** A band as closed outlines, one for each stretch without a hole: plotly.js would otherwise fill across holes. */
function band({ x, low, high }, colour, alpha) {
  const xs = [];
  const ys = [];
  let from = 0;
  for (let i = 0; i <= x.length; i += 1) {
    if (i < x.length && low[i] !== null) continue;
    if (i > from) {
      xs.push(...x.slice(from, i), ...x.slice(from, i).reverse(), null);
      ys.push(...high.slice(from, i), ...low.slice(from, i).reverse(), null);
    }
    from = i + 1;
  }
  const fill = { type: "scatter", mode: "lines", fill: "toself", fillcolor: withAlpha(colour, alpha) };
  return { ...fill, x: xs, y: ys, line: { width: 0 }, hoverinfo: "skip" };
}

export function traces(data, colours, colourOf) {
  const drawn = [];
  if (data.envelope) drawn.push(band(data.envelope, colours.envelope, 0.22));
  for (const line of data.lines) if (line.low) drawn.push(band(line, colours.series[colourOf(line.device) % COLOURS], 0.16));
  for (const line of data.lines) if (line.earlier) drawn.push(faint(line, data, colours.series[colourOf(line.device) % COLOURS]));
  for (const line of data.lines) drawn.push(stroke(line, data, colours, colourOf(line.device)));
  const heads = data.lines.filter((line) => line.head);
  if (heads.length && data.form !== "bar") drawn.push(points(heads, colours, colourOf));
  return drawn;
}

function stroke(line, data, colours, index) {
  const color = colours.series[index % COLOURS];
  const hover = `%{y:,.${data.decimals}f} ${data.unit}`;
  const common = { x: line.x, y: line.y, name: line.title, hovertemplate: hover };
  if (data.form === "bar") {
    return { ...common, type: "bar", marker: { color }, xperiod: data.bucket ?? undefined, xperiodalignment: "middle" };
  }
  if (data.form === "dots") return { ...common, type: "scatter", mode: "markers", marker: { color, size: 3 } };
  return {
    ...common,
    type: "scatter",
    mode: line.y.length < 40 ? "lines+markers" : "lines",
    marker: { size: 4 },
    connectgaps: false,
    line: { color, width: 1.6, dash: DASHES[Math.floor(index / COLOURS) % DASHES.length], shape: data.form === "steps" ? "hv" : "linear" },
  };
}

/** The earlier period under a line. */
function faint(line, data, color) {
  const hover = `%{y:,.${data.decimals}f} ${data.unit}`;
  const common = { ...line.earlier, name: `${line.title} (${t("earlier")})`, hovertemplate: hover, opacity: 0.55 };
  if (data.form === "bar") return { ...common, type: "bar", marker: { color, opacity: 0.5 }, xperiod: data.bucket ?? undefined, xperiodalignment: "middle" };
  if (data.form === "dots") return { ...common, type: "scatter", mode: "markers", marker: { color, size: 3, symbol: "circle-open" } };
  return { ...common, type: "scatter", mode: "lines", connectgaps: false, line: { color, width: 1.2, dash: "dot" } };
}

/** Phases, events and excluded stretches: strokes and areas behind the lines, each with its words at the top. */
function marks(data, colours) {
  const axes = { xref: "x", yref: "paper", y0: 0, y1: 1, layer: "below" };
  const shapes = data.marks.map((mark) => (mark.to
    ? { ...axes, type: "rect", x0: mark.from, x1: mark.to, line: { width: 0 }, fillcolor: withAlpha(mark.kind === "excluded" ? colours.envelope : colours.accent, 0.13) }
    : { ...axes, type: "line", x0: mark.from, x1: mark.from, line: { color: mark.kind === "phase" ? colours.accent : colours.text, width: 1.5, dash: mark.kind === "phase" ? "solid" : "dot" } }));
  const annotations = data.marks.slice(0, LABELLED).map((mark, i) => ({
    x: mark.from, xref: "x", y: 1 - 0.09 * (i % 3), yref: "paper", text: shortened(mark.text), hovertext: mark.text, showarrow: false, xanchor: "left", xshift: 3,
    font: { size: 11, color: colours.text }, bgcolor: withAlpha(colours.surface, 0.75),
  }));
  return { shapes, annotations };
}

/** Where the numbers' axis goes from and to, in charts with classes or a limit: from zero, and past a limit that is near. */
function heights(data) {
  if (!data.bands?.length && !data.limit) return undefined;
  const columns = data.lines.flatMap((line) => [line.y, line.low, line.high, line.earlier?.y].filter(Boolean));
  if (data.envelope) columns.push(data.envelope.low, data.envelope.high);
  let [low, high] = [Infinity, -Infinity];
  for (const column of columns) for (const y of column) if (y !== null) { if (y < low) low = y; if (y > high) high = y; }
  if (low > high) return undefined;
  const limit = data.limit?.value ?? -Infinity;
  if (limit > high && limit <= high + 0.8 * (high - low)) high = limit;
  const room = 0.06 * (high - low) || 1;
  return [data.bands?.length || data.form === "bar" ? Math.min(0, low) : low - room, high + room];
}

/** Classes of what is measured as bands behind the lines, with their names; the limit as a stroke with its words. */
function classes(data, colours, range) {
  const shapes = [];
  const annotations = [];
  if (!range) return { shapes, annotations };
  const [bottom, top] = range;
  const across = { xref: "paper", x0: 0, x1: 1, yref: "y", layer: "below" };
  const words = { xref: "paper", x: 1, xanchor: "right", xshift: -3, yref: "y", showarrow: false, font: { size: 11, color: colours.text } };
  let from = bottom;
  (data.bands ?? []).forEach(({ name, to }, i) => {
    const end = Math.min(to ?? Infinity, top);
    if (end <= from) return;
    shapes.push({ ...across, type: "rect", y0: from, y1: end, line: { width: 0 }, fillcolor: withAlpha(colours.air[i], 0.16) });
    if (to !== null && to < top) shapes.push({ ...across, type: "line", y0: to, y1: to, line: { color: colours.air[i], width: 1 } });
    if (end - from > 0.075 * (top - bottom)) annotations.push({ ...words, y: (from + end) / 2, yanchor: "middle", text: name, bgcolor: withAlpha(colours.surface, 0.7) });
    from = end;
  });
  const { value, text } = data.limit ?? {};
  if (value >= bottom && value <= top) {
    shapes.push({ ...across, type: "line", layer: "above", y0: value, y1: value, line: { color: colours.limit, width: 1.5, dash: "dash" } });
    annotations.push({ ...words, x: 0, xanchor: "left", xshift: 3, y: value, yanchor: "bottom", text, bgcolor: withAlpha(colours.surface, 0.7) });
  }
  return { shapes, annotations };
}

const shortened = (text) => (text.length > 32 ? text.slice(0, 31) + "…" : text).replace(/</g, "&lt;");

/** Where each line stands this moment. */
function points(lines, colours, colourOf) {
  return {
    type: "scatter",
    mode: "markers",
    x: lines.map((line) => line.head.x),
    y: lines.map((line) => line.head.y),
    marker: { size: 7, color: lines.map((line) => colours.series[colourOf(line.device) % COLOURS]), line: { color: colours.surface, width: 1.5 } },
    hoverinfo: "skip",
  };
}

/** `look` may say a width (px) and a height; else the chart fills its place. */
export function layout(data, colours, look = {}) {
  const many = data.lines.length > 10;
  const range = heights(data);
  const [back, front] = [classes(data, colours, range), marks(data, colours)];
  return {
    margin: MARGIN,
    height: look.height ?? 240,
    width: look.width,
    autosize: look.width === undefined,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "inherit", size: 12, color: colours.text },
    separators: language !== "en-GB" ? ",\u00a0" : ".,",
    dragmode: false,  // gestures.js sees to it
    hovermode: many ? "closest" : "x unified",
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.grid },
    barmode: "group",
    bargap: 0.1,
    showlegend: false,
    shapes: [...back.shapes, ...front.shapes],
    annotations: [...back.annotations, ...front.annotations],
    xaxis: {
      type: "date",
      range: [data.start, data.end],
      gridcolor: colours.grid,
      linecolor: colours.grid,
      hoverformat: "%a %e. %b %Y %H:%M:%S",
      tickformatstops: [
        { dtickrange: [null, 60000], value: "%H:%M:%S" },
        { dtickrange: [60000, 43200000], value: "%H:%M\n%e. %b" },
        { dtickrange: [43200000, 604800000], value: "%e. %b\n%Y" },
        { dtickrange: [604800000, "M1"], value: "%e. %b\n%Y" },
        { dtickrange: ["M1", null], value: "%b\n%Y" },
      ],
    },
    yaxis: { fixedrange: true, gridcolor: colours.grid, zeroline: false, range, autorange: range === undefined, rangemode: data.form === "bar" ? "tozero" : "normal", nticks: 6 },
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
