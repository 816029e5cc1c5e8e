// What a page shows, of which time: in its address, in its toolbar, and for all its charts.

import { inWords, toText } from "./time.js";

/** What the page opens on when its address says nothing. */
function opening() {
  const bar = document.querySelector(".ranges");
  return bar ? { start: bar.dataset.homeStart, end: bar.dataset.homeEnd } : { start: "-P1D", end: "now" };
}

/**
 * Keeps {start, end, against, device}, all text: times as the server understands them ("-P1D" and "now", or local
 * times), an earlier period to compare with, devices as a comma list. Calls `onChange(range)`. `shown()` gives the walls
 * {start, end} that the charts show now. Nothing changes while `mayChange()` is false: the server is away.
 */
export function ranges({ start, end, against = "", device = "", shown, offset, onChange, mayChange = () => true }) {
  const initial = { start, end, against, device, initial: true };  // as the page came
  const home = opening();
  let current = initial;

  function set(change, { remember = true } = {}) {
    if (remember && !mayChange()) return;
    current = { ...current, ...change, initial: false };
    const plain = current.start === home.start && current.end === home.end;
    const implied = { start: plain, end: plain || current.end === "now", against: !current.against, device: !current.device };
    const address = new URL(location.href);
    for (const typed of ["from", "to"]) address.searchParams.delete(typed);
    for (const [name, left] of Object.entries(implied)) {
      if (left) address.searchParams.delete(name);
      else address.searchParams.set(name, current[name]);
    }
    if (remember) history.pushState(current, "", address);
    show();
    onChange(current);
  }

  /** What is chosen, on the toolbar and in the legend. */
  function show() {
    for (const link of document.querySelectorAll("[data-range]")) {
      if (link.dataset.end === current.end && link.dataset.range === current.start) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const select = document.getElementById("against");
    if (select) select.value = current.against;
    const chosen = current.device.split(",");
    for (const button of document.querySelectorAll("button[data-colour]")) {
      button.setAttribute("aria-pressed", String(chosen.includes(button.dataset.colour)));
    }
  }

  /** A range of walls, as text with the charts' fixed offset where they have one. */
  function setWalls(from, to) {
    if (to - from < 1000) [from, to] = [(from + to) / 2 - 500, (from + to) / 2 + 500];
    set({ start: toText(from) + (offset() ?? ""), end: toText(to) + (offset() ?? "") });
  }

  function step(kind) {
    if (kind === "reset") return set(home);
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
      link.closest("details")?.removeAttribute("open");
      set({ start: link.dataset.range, end: link.dataset.end });
    });
  }
  for (const button of document.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => step(button.dataset.step));
  }
  for (const button of document.querySelectorAll("button[data-colour]")) {
    button.addEventListener("click", () => {
      const chosen = new Set(current.device.split(",").filter(Boolean));
      if (!chosen.delete(button.dataset.colour)) chosen.add(button.dataset.colour);
      set({ device: [...chosen].join(",") });
    });
  }
  document.getElementById("against")?.addEventListener("change", (event) => set({ against: event.target.value }));
  for (const hidden of document.querySelectorAll("[data-steps]")) hidden.removeAttribute("hidden");
  for (const button of document.querySelectorAll("[data-picks]")) offerCalendar(button, shown);
  addEventListener("popstate", (event) => {
    const there = event.state ?? initial;
    if (["start", "end", "against", "device"].some((name) => there[name] !== current[name])) set(there, { remember: false });
  });

  /** As if the last change had not been: the server did not answer. */
  function undo(before) {
    current = before;
    history.back();  // to the address before, which finds nothing to change
    show();
  }

  /** Back to where the page began; from there to what it opens on by itself. */
  function reset() {
    const there = current.start === initial.start && current.end === initial.end;
    set(there ? home : { start: initial.start, end: initial.end });
  }

  history.replaceState(initial, "");  // so that going back finds a range, also after a reload
  show();
  return { set, setWalls, step, reset, undo, isLive: () => current.end === "now", current: () => current };
}

/** A calendar for a field in which one types: what is picked is written there as the reader writes it. */
function offerCalendar(button, shown) {
  const field = button.closest(".from-to").querySelector("input");
  const picker = document.createElement("input");
  Object.assign(picker, { type: "datetime-local", className: "picker", tabIndex: -1 });
  picker.setAttribute("aria-hidden", "true");
  picker.addEventListener("input", () => { if (picker.value) field.value = inWords(picker.value); });
  button.closest(".from-to").append(picker);
  button.addEventListener("click", () => {
    const { start, end } = shown();
    picker.value = toText(button.dataset.picks === "from" ? start : end).slice(0, 16);
    picker.showPicker();
  });
}

/** Say in words what is shown: "22 Nov 2026, 08:00 – 23 Nov 2026, 08:00 (Europe/Oslo, UTC+01:00)". */
export function describeRange(start, end, zone) {
  const element = document.getElementById("range");
  const text = `${inWords(start, end)} (${zone})`;
  if (element.textContent !== text) element.textContent = text;
}
