// The live connection: one stream of server-sent events for the page, that comes back by itself.

import { heartbeat, t } from "./page.js";

const indicator = document.getElementById("live");

function show(state, words) {
  indicator.dataset.state = state;
  indicator.querySelector(".words").textContent = words;
}

/**
 * Listen to readings of a pilot, or of all. Calls `onReadings(items)` with items as of /api/v1/latest, and `onResync()`
 * whenever something may have been missed. Returns `pause(bool)`, for pages that look into the past.
 */
export function connect({ pilot, onReadings, onResync }) {
  const address = "/api/v1/live" + (pilot ? "?pilot=" + encodeURIComponent(pilot) : "");
  let source;
  let watchdog;
  let paused = false;
  let state = ["connecting", "connecting"];

  const set = (name, words) => {
    state = [name, words];
    if (paused && name === "live") show("paused", t("paused: looking into the past"));
    else show(name, t(words));
  };
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(reopen, 3 * heartbeat);
  };
  const open = () => {
    source = new EventSource(address);
    source.addEventListener("hello", () => { set("live", "live"); alive(); onResync(); });
    source.addEventListener("beat", () => { if (state[0] !== "stale") set("live", "live"); alive(); });
    source.addEventListener("readings", (event) => { set("live", "live"); alive(); onReadings(JSON.parse(event.data).items); });
    source.addEventListener("resync", () => { set("live", "live"); alive(); onResync(); });
    source.addEventListener("stale", () => { set("stale", "the store does not answer"); alive(); });
    source.onerror = () => {
      set("disconnected", "disconnected");
      if (source.readyState === EventSource.CLOSED) {  // refused: the browser does not try again by itself
        clearTimeout(watchdog);
        watchdog = setTimeout(reopen, 2000 + 2000 * Math.random());
      }
    };
  };
  const reopen = () => {
    set("disconnected", "disconnected");
    source.close();
    alive();
    open();
  };
  addEventListener("pagehide", () => { clearTimeout(watchdog); source.close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  alive();
  open();
  return (yes) => { paused = yes; set(...state); };
}
