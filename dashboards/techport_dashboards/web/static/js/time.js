// Wall clocks and ages. A "wall" is a zone's local time as milliseconds, as if it were UTC: what a chart's axis counts in.

import { language, t } from "./page.js";

const clocks = new Map();

function clock(zone) {
  if (!clocks.has(zone)) {
    const parts = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" };
    clocks.set(zone, new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...parts }));
  }
  return clocks.get(zone);
}

/** The wall of an instant (ms since 1970), in a zone or at a fixed offset such as "+02:00". */
export function wall(instant, zone, offset) {
  if (offset) {
    const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)/.exec(offset);
    return instant + (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60000;
  }
  const at = Object.fromEntries(clock(zone).formatToParts(instant).map((part) => [part.type, Number(part.value)]));
  return Date.UTC(at.year, at.month - 1, at.day, at.hour, at.minute, at.second) + (((instant % 1000) + 1000) % 1000);
}

/** "2026-11-22T08:00:00" as a wall. plotly.js writes a space for the T and leaves trailing parts out. */
export function fromText(text) {
  const full = text.replace(" ", "T");
  const padded = /^\d{4}-\d\d$/.test(full) ? full + "-01" : full;
  return Date.parse(/T\d\d$/.test(padded) ? padded + ":00Z" : padded.includes("T") ? padded + "Z" : padded + "T00:00Z");
}

export const toText = (wallTime) => new Date(Math.round(wallTime)).toISOString().slice(0, 23).replace(/\.000$/, "");

let short;  // the browser's tables of a language cost it some 10 ms: not before the first chart

/** A chart's time as people read it. */
export function shortTime(text) {
  short ??= new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
  return short.format(fromText(text));
}

let stretch;

/** A moment, or what lies between two: "22 Nov 2026, 08:00 – 23 Nov 2026, 08:00". Both are text of a wall. */
export function inWords(start, end) {
  const form = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC" };
  stretch ??= new Intl.DateTimeFormat(language, form);
  return end ? stretch.formatRange(fromText(start), fromText(end)) : stretch.format(fromText(start));
}

const UNITS = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
let relative;

function ago(instant) {
  const seconds = (Date.now() - instant) / 1000;
  if (seconds < 5) return t("just now");
  const [unit, length] = UNITS.find(([, size]) => seconds >= 1.2 * size) ?? UNITS.at(-1);
  relative ??= new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });
  return relative.format(-Math.round(seconds / length), unit);
}

/** Put an instant into a `<time data-ago>`, made where there is none yet. */
export function setAgo(holder, iso) {
  let element = holder.querySelector("time");
  if (!element) {
    element = document.createElement("time");
    element.dataset.ago = "";
    holder.replaceChildren(element);
  }
  if (element.dateTime && element.dateTime > iso) return;
  element.dateTime = iso;
  element.textContent = ago(Date.parse(iso));
}

/** Keep every age on the page true. */
export function keepAges() {
  const tick = () => {
    for (const element of document.querySelectorAll("time[data-ago]")) {
      const text = ago(Date.parse(element.dateTime));
      if (element.textContent !== text) element.textContent = text;
    }
  };
  tick();
  setInterval(tick, 1000);
}
