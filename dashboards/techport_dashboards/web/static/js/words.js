// What stands around a chart in words: what is shown, its table, what happened meanwhile, and where to get it.

import { t } from "./page.js";
import { shortTime } from "./time.js";

const NAMED = 10;  // devices up to which a chart's own words tell the class of each; the table tells all
const FORMATS = { csv: "CSV", parquet: "Parquet", json: "JSON" };
const FIGURES = { json: "plotly", html: "HTML" };

/** `readingsAt(format)` and `figureAt(format)` are addresses of the API. */
export function describe(figure, data, { readingsAt, figureAt }) {
  figure.querySelector(".shown").textContent = data.shown;
  figure.querySelector(".difference").textContent = data.difference;
  figure.querySelector(".summary").textContent = data.summary;
  const against = data.lines.some(({ summary }) => summary.difference !== undefined);
  for (const head of figure.querySelectorAll("[data-against]")) head.hidden = !against;
  const { rated } = data;
  for (const head of figure.querySelectorAll("[data-rated]")) head.hidden = !rated;
  const columns = [...(rated ? ["air"] : []), "last", "lowest", "mean", "highest", "count", ...(against ? ["earlier", "difference"] : [])];
  figure.querySelector("tbody").replaceChildren(...data.lines.map((line) => row(line, columns)));
  figure.querySelector(".limit").textContent = data.limit?.text ?? "";
  figure.querySelector(".limit").title = data.limit?.source ?? "";
  figure.querySelector(".index").hidden = !rated;
  figure.querySelector(".marks").replaceChildren(...data.marks.map((mark) => {
    const item = document.createElement("li");
    item.textContent = `${shortTime(mark.start)}${mark.end ? ` – ${shortTime(mark.end)}` : ""}: ${mark.text}`;
    return item;
  }));
  const classes = data.lines.length <= NAMED ? data.lines.map(({ title, summary }) => summary.air && `${title}: ${summary.air}`) : [];
  const words = [titleOf(figure), data.summary, data.shown, data.difference, data.limit?.text, ...classes];
  figure.querySelector(".plot").setAttribute("aria-label", words.filter(Boolean).join(". "));
  figure.querySelector(".downloads").replaceChildren(
    `${t("Download:")} `, ...links(FORMATS, readingsAt), ` · ${t("Figure:")} `, ...links(FIGURES, figureAt));
}

function links(formats, addressOf) {
  return Object.entries(formats).flatMap(([format, name], i) => {
    const link = document.createElement("a");
    link.href = addressOf(format);
    link.textContent = name;
    return i ? [", ", link] : [link];
  });
}

function row({ title, summary }, columns) {
  const found = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = title;
  found.append(head);
  for (const column of columns) found.insertCell().textContent = summary[column] ?? "–";
  return found;
}

export const titleOf = (figure) => figure.querySelector("h3").textContent.trim().replace(/\s+/g, " ");
