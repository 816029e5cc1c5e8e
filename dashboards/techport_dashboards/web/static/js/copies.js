// What can be taken away of a chart: a link that shows the same to others, its numbers, its picture. Nothing leaves the page.

import { number, t } from "./page.js";

const PICTURE = { width: 1000, height: 480, scale: 2 };

/** Do what a button of `chart` asks for. Returns words that say what was done. */
export async function copy(kind, chart) {
  if (!chart.data) return t("no readings in this range");
  if (kind === "link") { await toClipboard(linkTo(chart)); return t("link copied"); }
  if (kind === "data") { await toClipboard(table(chart.data)); return t("data copied"); }
  const picture = await window.Plotly.toImage(await figureOf(chart), { format: kind, ...PICTURE });
  const link = document.createElement("a");
  link.href = picture;
  link.download = `${chart.figure.dataset.pilot}-${chart.data.quantity}-${chart.data.start.slice(0, 10)}.${kind}`;
  link.click();
  return t("image saved");
}

/** With the times themselves, so that tomorrow it shows what is shown now. */
function linkTo(chart) {
  const address = new URL(location.href);
  const offset = chart.data.offset ?? "";
  address.searchParams.set("start", chart.data.start + offset);
  address.searchParams.set("end", chart.data.end + offset);
  address.hash = chart.figure.id;
  return address.href;
}

// As techport_storage/csv_cells.py has it: what a spreadsheet would take for a formula.
const FORMULA = /(^|[;,|\t\r\n])([\x00-\x20\x7f-\xa0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\u3000\ufeff]*)([=+@＝＋－＠﹦﹢﹣﹫⁼⁺⁻₌₊₋−-])/g;

/** A text as a cell: with an apostrophe where a formula would begin, and none of the separators. */
export function cell(text) {
  const safe = text.replace(FORMULA, "$1$2'$3");
  return (/^[\t\r\n]/.test(safe) ? `'${safe}` : safe).replace(/[\t\r\n]/g, " ");
}

/** For a spreadsheet: a row for each time, a column for each device, numbers as the reader writes them. */
function table({ lines, quantity, unit, decimals }) {
  const rows = new Map();
  lines.forEach(({ x, y }, column) => x.forEach((time, i) => {
    if (y[i] === null) return;
    if (!rows.has(time)) rows.set(time, Array(lines.length).fill(""));
    rows.get(time)[column] = number(y[i], decimals + 2).replace(/\s/g, "");
  }));
  const head = [`${quantity} ${unit}`.trim(), ...lines.map(({ title }) => title)].map(cell);
  const body = [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([time, values]) => [time.replace("T", " "), ...values]);
  return [head, ...body].map((row) => row.join("\t")).join("\n");
}

/** With its title, legend and axis titles, on white: the figure that others get from the API. */
async function figureOf(chart) {
  const answer = await fetch(chart.figureAddress("json"));
  const figure = await answer.json();
  if (!answer.ok) throw new Error(figure.detail);
  return figure;
}

async function toClipboard(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const field = document.createElement("textarea");  // a browser gives the clipboard to https and localhost only
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
