// The range of time that a page shows: in its address, in its toolbar, and for all its charts.

import { language } from "./page.js";
import { fromText, toText } from "./time.js";

/**
 * Keeps {start, end} as the server understands them: "-P1D" and "now", or local times. Calls `onChange(range)`.
 * `shown()` gives the walls {start, end} that the charts show now.
 */
export function ranges({ start, end, shown, offset, onChange }) {
  const initial = { start, end };
  let current = { start, end };

  function set(range, { remember = true } = {}) {
    current = range;
    const address = new URL(location.href);
    const plain = range.start === "-P1D" && range.end === "now";
    for (const name of ["start", "end"]) {
      const implied = plain || (name === "end" && range.end === "now");
      if (implied) address.searchParams.delete(name);
      else address.searchParams.set(name, range[name]);
    }
    if (remember) history.pushState(range, "", address);
    for (const link of document.querySelectorAll("[data-range]")) {
      if (range.end === "now" && link.dataset.range === range.start) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    onChange(range);
  }

  /** A range of walls, as text with the charts' fixed offset where they have one. */
  function setWalls(from, to) {
    if (to - from < 1000) [from, to] = [(from + to) / 2 - 500, (from + to) / 2 + 500];
    set({ start: toText(from) + (offset() ?? ""), end: toText(to) + (offset() ?? "") });
  }

  function step(kind) {
    if (kind === "reset") return set({ start: "-P1D", end: "now" });
    const { start: from, end: to } = shown();
    const span = to - from;
    if (kind === "earlier") setWalls(from - span / 2, to - span / 2);
    if (kind === "later") setWalls(from + span / 2, to + span / 2);
    if (kind === "in") setWalls(from + span / 4, to - span / 4);
    if (kind === "out") setWalls(from - span / 2, to + span / 2);
    return undefined;
  }

  for (const link of document.querySelectorAll("[data-range]")) {
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      set({ start: link.dataset.range, end: "now" });
    });
  }
  for (const button of document.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(button.dataset.step));
  }
  document.querySelector("[data-steps]")?.removeAttribute("hidden");
  addEventListener("popstate", (event) => set(event.state ?? initial, { remember: false }));

  /** Back to where the page began; from there to now. */
  function reset() {
    const there = current.start === initial.start && current.end === initial.end;
    set(there ? { start: "-P1D", end: "now" } : initial);
  }

  history.replaceState(initial, "");  // so that going back finds a range, also after a reload
  return { set, setWalls, reset, isLive: () => current.end === "now", current: () => current };
}

/** Say in words what is shown: "22 Nov 2026, 08:00 – 23 Nov 2026, 08:00 (Europe/Oslo, UTC+01:00)". */
export function describeRange(start, end, zone) {
  const form = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC" };
  const words = new Intl.DateTimeFormat(language, form).formatRange(fromText(start), fromText(end));
  const element = document.getElementById("range");
  const text = `${words} (${zone})`;
  if (element.textContent !== text) element.textContent = text;
}
