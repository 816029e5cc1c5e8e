// Latest values in tables and on the map, kept current.

import { number } from "./page.js";
import { setAgo } from "./time.js";

const SVG = "http://www.w3.org/2000/svg";

/** Show items of /latest wherever the page has their device and quantity. */
export function showLatest(items) {
  for (const item of items) {
    const device = CSS.escape(`${item.pilot}/${item.device}`);
    for (const holder of document.querySelectorAll(`[data-device="${device}"]`)) showAt(holder, item);
  }
  const newest = items.map((item) => item.received).sort().at(-1);
  const holder = document.querySelector("[data-newest]");
  if (newest && holder) setAgo(holder, newest);
}

function showAt(holder, item) {
  const slot = holder.querySelector(`[data-quantity="${CSS.escape(item.quantity)}"]`);
  const value = slot?.querySelector(".value");
  if (value) {
    const unit = value.querySelector(".unit");
    const before = value.textContent;
    const words = slot.dataset.words === undefined ? [] : JSON.parse(slot.dataset.words);
    value.textContent = words[item.value] ?? number(item.value, Number(slot.dataset.decimals));
    const label = holder.getAttribute("aria-label");  // a mark on the map says its value there too
    if (label) holder.setAttribute("aria-label", label.replace(before, value.textContent));
    if (unit) value.append("\u00a0", unit);
  }
  const seen = holder.querySelector(".seen");
  if (seen) setAgo(seen, item.received);
  if (holder.classList.contains("mark") && !holder.classList.contains("live")) revive(holder);
}

/** A device on the map that is heard again. Its words change with the next load of the page. */
function revive(mark) {
  mark.classList.remove("late", "silent", "never", "ended");
  mark.classList.add("live");
  for (const old of mark.querySelectorAll(":scope > path, :scope > circle:not(.target)")) old.remove();
  const circle = document.createElementNS(SVG, "circle");
  circle.setAttribute("r", "6");
  mark.append(circle);
}
