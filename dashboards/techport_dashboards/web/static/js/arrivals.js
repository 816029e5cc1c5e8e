// A device's messages as they come in, and what came of messages that are taken again.

const EVERY_MS = 1000;
const list = document.getElementById("messages");

async function piece(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  const found = document.createElement("template");
  found.innerHTML = await answer.text();
  return found.content;
}

/** Ask again and again; a server that is away for a moment is asked again, too. */
async function repeat(ask) {
  try {
    if (!document.hidden && (await ask())) return;
  } catch {
    // the next round asks again
  }
  setTimeout(() => repeat(ask), EVERY_MS);
}

async function fetchArrivals() {
  const newest = list.firstElementChild?.dataset.id ?? 0;
  const found = await piece(`${list.dataset.address}&after=${newest}`);
  if (!found.firstElementChild) return;
  const first = !list.firstElementChild;
  list.prepend(found);
  if (first) {
    const waiting = document.getElementById("waiting");
    waiting.dataset.received = "true";
    waiting.replaceChildren(document.getElementById("received").content.cloneNode(true));
  }
}

async function fetchOutcome() {
  const place = document.getElementById("outcome");
  const found = await piece(place.dataset.address);
  place.replaceWith(found);
  return document.getElementById("outcome").dataset.done === "true";
}

if (list?.dataset.watched === "true") repeat(fetchArrivals);
if (document.getElementById("outcome")?.dataset.done === "false") repeat(fetchOutcome);
