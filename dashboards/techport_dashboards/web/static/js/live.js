// The live connection: one stream of server-sent events for the page, that comes back by itself.

import { firstChart, heartbeat, root, t } from "./page.js";

const FRESH = 60000;  // ms: readings that may have come since the page was made

const indicator = document.getElementById("live");

function show(state, words) {
  indicator.dataset.state = state;
  indicator.querySelector(".words").textContent = words;
}

/**
 * Listen to readings of a pilot, or of all. Calls `onReadings(items)` with items as of /api/v1/latest, `onLate(streams)`
 * where readings came that are older than the latest, `onResync()` whenever something may have been missed, and
 * `onServer(there)` when the server went away or came back. Returns `pause(bool)`, for pages that look into the past.
 */
export function connect({ pilot, onReadings, onLate = () => {}, onResync, onServer = () => {} }) {
  const address = root + "/api/v1/live" + (pilot ? "?pilot=" + encodeURIComponent(pilot) : "");
  let source;
  let watchdog;
  let paused = false;
  let state = ["connecting", t("connecting")];

  const set = (name, words) => {
    if ((name === "disconnected") !== (state[0] === "disconnected")) onServer(name !== "disconnected");
    state = [name, words];
    if (paused && name === "live") show("paused", t("paused: showing the past"));
    else show(name, words);
  };
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(reopen, 3 * heartbeat);
  };
  let before = false;
  const open = () => {
    source = new EventSource(address);
    source.addEventListener("hello", () => {
      set("live", t("live"));
      alive();
      if (before) onResync();
      else catchUp();
      before = true;
    });
    source.addEventListener("beat", () => { if (state[0] !== "stale") set("live", t("live")); alive(); });
    source.addEventListener("readings", (event) => { set("live", t("live")); alive(); onReadings(JSON.parse(event.data).items); });
    source.addEventListener("late", (event) => { alive(); onLate(JSON.parse(event.data).items); });
    source.addEventListener("resync", () => { set("live", t("live")); alive(); onResync(); });
    source.addEventListener("stale", () => { set("stale", t("the database is not responding")); alive(); });
    source.onerror = () => {
      set("disconnected", t("not connected"));
      if (source.readyState === EventSource.CLOSED) {  // refused: the browser does not try again by itself
        clearTimeout(watchdog);
        watchdog = setTimeout(reopen, 2000 + 2000 * Math.random());
      }
    };
  };
  /** What came between the making of the page and now: each stream's latest is enough, for that is a moment. */
  const catchUp = async () => {
    await firstChart;
    const answer = await fetch(root + "/api/v1/latest" + (pilot ? "?pilot=" + encodeURIComponent(pilot) : ""));
    if (!answer.ok) return;
    const { items } = await answer.json();
    onReadings(items.filter((item) => Date.now() - Date.parse(item.received) < FRESH));
  };
  const reopen = () => {
    set("disconnected", t("not connected"));
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
