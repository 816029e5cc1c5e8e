// Choosing a position on a map: a button beside two coordinate fields brings the map there, and a tap fills them in.

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
  let unit = 1;

  const fields = ({ dataset: { lat, lon } }) => [document.getElementById(lat), document.getElementById(lon)];

  /** The pin stands where the fields say, if they say degrees on this map. */
  const showPin = () => {
    const [lat, lon] = fields(target).map(({ value }) => (value.trim() ? Number(value.replace(",", ".")) : NaN));
    const x = (lon - edges.west) * edges.per_lon;
    const y = (edges.north - lat) * edges.per_lat;
    const known = Number.isFinite(x) && Number.isFinite(y);
    pin.toggleAttribute("hidden", !known);
    if (known) pin.setAttribute("transform", `translate(${x} ${y}) scale(${unit})`);
  };

  const tapped = (x, y) => {
    const [lat, lon] = fields(target);
    const system = document.getElementById(target.dataset.system ?? "");
    if (system) system.value = "degrees";
    lat.value = (edges.north - y / edges.per_lat).toFixed(6);
    lon.value = (edges.west + x / edges.per_lon).toFixed(6);
    for (const field of [lat, lon]) field.dispatchEvent(new Event("input", { bubbles: true }));
    frame.querySelector("[role=status]").textContent = `${lat.value}, ${lon.value}`;
  };

  let watching = false;
  for (const button of document.querySelectorAll("[data-lat]")) {
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
    for (const field of fields(button)) field.addEventListener("input", () => { if (target === button) showPin(); });
  }
}
