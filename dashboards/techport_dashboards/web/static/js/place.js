// Choosing positions on a map: a button beside two coordinate fields brings the map there, and a tap fills them in. Beside
// a list of corners each tap adds one, and their outline is drawn.

import { watchMap } from "./map.js";
import { read } from "./page.js";

const frame = document.querySelector(".place-frame");
const svg = frame?.querySelector("svg.city");
let target = null;  // the button whose fields are filled in

if (svg) {
  const { edges } = read("map-data");
  svg.setAttribute("role", "group");
  const pin = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  pin.setAttribute("class", "pin");
  pin.setAttribute("d", "M0 0-9-16a10.5 10.5 0 1 1 18 0Z");
  const outline = svg.insertBefore(document.createElementNS("http://www.w3.org/2000/svg", "polygon"), pin);
  outline.setAttribute("class", "corners");
  let unit = 1;

  const fields = ({ dataset: { lat, lon } }) => [document.getElementById(lat), document.getElementById(lon)];

  const onMap = (lat, lon) => [(lon - edges.west) * edges.per_lon, (edges.north - lat) * edges.per_lat];

  /** The corners that the list has, as [lat, lon]. */
  const corners = ({ dataset }) => document.getElementById(dataset.corners).value.split("\n")
    .map((line) => line.match(/[+-]?\d+(?:[.,]\d+)?/g)?.map((number) => Number(number.replace(",", "."))))
    .filter((numbers) => numbers?.length === 2);

  /** The pin stands where the fields say, if they say degrees on this map; of a list, at its last corner. */
  const showPin = () => {
    const listed = target.dataset.corners ? corners(target) : [];
    outline.setAttribute("points", listed.map(([lat, lon]) => onMap(lat, lon).join(" ")).join(" "));
    const [lat, lon] = target.dataset.corners
      ? listed.at(-1) ?? [NaN, NaN]
      : fields(target).map(({ value }) => (value.trim() ? Number(value.replace(",", ".")) : NaN));
    const [x, y] = onMap(lat, lon);
    const known = Number.isFinite(x) && Number.isFinite(y);
    pin.toggleAttribute("hidden", !known);
    if (known) pin.setAttribute("transform", `translate(${x} ${y}) scale(${unit})`);
  };

  const tapped = (x, y) => {
    if (target.dataset.corners) {
      const list = document.getElementById(target.dataset.corners);
      const corner = `${(edges.north - y / edges.per_lat).toFixed(6)}, ${(edges.west + x / edges.per_lon).toFixed(6)}`;
      list.value = list.value.trim() ? `${list.value.trimEnd()}\n${corner}` : corner;
      list.dispatchEvent(new Event("input", { bubbles: true }));
      frame.querySelector("[role=status]").textContent = corner;
      return;
    }
    const [lat, lon] = fields(target);
    const system = document.getElementById(target.dataset.system ?? "");
    if (system) system.value = "degrees";
    lat.value = (edges.north - y / edges.per_lat).toFixed(6);
    lon.value = (edges.west + x / edges.per_lon).toFixed(6);
    for (const field of [lat, lon]) field.dispatchEvent(new Event("input", { bubbles: true }));
    frame.querySelector("[role=status]").textContent = `${lat.value}, ${lon.value}`;
  };

  let watching = false;
  for (const button of document.querySelectorAll("[data-lat], [data-corners]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const closes = target === button && !frame.hidden;
      target?.setAttribute("aria-expanded", "false");
      target = button;
      frame.hidden = closes;
      button.setAttribute("aria-expanded", String(!closes));
      if (closes) return;
      button.after(frame);
      if (!watching) watchMap(frame, { tapped, shown: (length) => { unit = length; showPin(); } });
      watching = true;
      showPin();
      svg.focus({ preventScroll: true });
      frame.scrollIntoView({ block: "nearest" });
    });
    const own = button.dataset.corners ? [document.getElementById(button.dataset.corners)] : fields(button);
    for (const field of own) field.addEventListener("input", () => { if (target === button) showPin(); });
  }
}
