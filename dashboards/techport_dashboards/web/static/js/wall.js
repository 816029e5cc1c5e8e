// A page on a wall: shows all of itself by turns, goes on to the next page or comes anew, and waits while the server is away.

import { read } from "./page.js";

const wall = read("wall");
const still = matchMedia("(prefers-reduced-motion: reduce)");
let next = new URL(wall.next ?? location.href, location.href);
if (wall.next) {
  for (const [name, value] of new URL(location.href).searchParams) {
    if (["wall", "cycle", "lang"].includes(name)) next.searchParams.set(name, value);
  }
}

/** Below the last line of the page there is nothing to wait for. */
const more = () => scrollY + innerHeight < document.documentElement.scrollHeight - 40;

async function answers() {
  try {
    return (await fetch(next, { cache: "no-store", signal: AbortSignal.timeout(10000) })).ok;
  } catch {
    return false;
  }
}

async function turn() {
  if (more()) {
    scrollBy({ top: 0.85 * innerHeight, behavior: still.matches ? "instant" : "smooth" });
  } else if (await answers()) {
    if (next.href === location.href) location.reload();
    else location.replace(next);
    return;
  } else {
    scrollTo({ top: 0 });  // what is here stays, and says that it is disconnected
  }
  setTimeout(turn, 1000 * wall.seconds);
}

if ("scrollRestoration" in history) history.scrollRestoration = "manual";
setTimeout(turn, 1000 * wall.seconds);
