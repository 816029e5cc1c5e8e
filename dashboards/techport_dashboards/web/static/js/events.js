// What happened, put on the time line from the chart where somebody saw it; and taken back if it was a mistake.

import { language, t } from "./page.js";
import { inWords, shortTime, toText, wall } from "./time.js";

const OFFERED = 20000;  // ms for which taking it back is offered

const dialog = document.getElementById("event");
const form = dialog.querySelector("form");
const toast = document.getElementById("toast");
let asked = null;  // the chart, and what to do when something has changed
let offered = 0;

/** Ask what happened at the wall `at` of `chart`. `changed()` is called when there is an event more, or one less. */
export function ask(chart, at, changed) {
  asked = { chart, changed };
  form.elements.time.value = toText(Math.round(at / 1000) * 1000).slice(0, 19);
  form.elements.end.value = "";
  form.querySelector(".wrong").textContent = "";
  sayWhen();
  dialog.showModal();
  form.elements.kind.focus();
  listAdded();
}

/** The browser shows dates in its own language, whatever the page's is: say them in the page's too. */
function sayWhen() {
  const { time, end, described } = form.elements;
  described.value = time.value ? inWords(time.value, end.value) : "";
}
for (const name of ["time", "end"]) form.elements[name].addEventListener("input", sayWhen);

/** What was written down on the pages or the command line can be deleted; the definition file is changed in itself. */
async function listAdded() {
  const answer = await send("GET", form.dataset.address);
  const found = answer.ok ? answer.body.items.filter(({ added }) => added !== null).reverse() : [];
  const list = dialog.querySelector(".added");
  list.hidden = !found.length;
  list.querySelector("ul").replaceChildren(...found.map(entry));
}

function entry({ added, time, text }) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.textContent = t("delete");
  button.addEventListener("click", async () => {
    if (!button.dataset.sure) {
      button.dataset.sure = "yes";
      button.textContent = t("Really delete?");
      return;
    }
    const answer = await send("DELETE", `${form.dataset.address}/${added}`);
    if (!answer.ok) { button.textContent = answer.detail; return; }
    asked.changed();
    listAdded();
  });
  const words = language === "en-GB" ? text.en : text.nb;
  item.append(`${shortTime(toText(wall(Date.parse(time), asked.chart.zone)))}: ${words} `, button);
  return item;
}

form.querySelector("[data-close]").addEventListener("click", () => dialog.close());
form.elements.kind.addEventListener("change", () => { form.elements.end.required = form.elements.kind.value === "exclusion"; });

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { kind, time, end, nb, en, device } = Object.fromEntries(new FormData(form));
  const offset = asked.chart.data.offset ?? "";
  const body = { kind, time: time + offset, text: { nb, en }, ...(end && { end: end + offset }), ...(device && { device }) };
  const answer = await send("POST", form.dataset.address, body);
  if (!answer.ok) { form.querySelector(".wrong").textContent = answer.detail; return; }
  dialog.close();
  form.elements.nb.value = "";
  form.elements.en.value = "";
  asked.changed();
  offer(answer.body.added);
});

function offer(added) {
  const { changed } = asked;
  toast.querySelector("span").textContent = t("Saved.");
  toast.hidden = false;
  clearTimeout(offered);
  offered = setTimeout(() => { toast.hidden = true; }, OFFERED);
  toast.querySelector("button").onclick = async () => {
    const answer = await send("DELETE", `${form.dataset.address}/${added}`);
    toast.querySelector("span").textContent = answer.ok ? t("Undone.") : answer.detail;
    if (answer.ok) changed();
    clearTimeout(offered);
    offered = setTimeout(() => { toast.hidden = true; }, 4000);
  };
}

async function send(method, address, body) {
  try {
    const headers = { "Accept-Language": language, ...(body && { "Content-Type": "application/json" }) };
    const answer = await fetch(address, { method, headers, body: body && JSON.stringify(body) });
    const found = await answer.json();
    return { ok: answer.ok, body: found, detail: found.detail };
  } catch {
    return { ok: false, detail: t("the server is not responding") };
  }
}
