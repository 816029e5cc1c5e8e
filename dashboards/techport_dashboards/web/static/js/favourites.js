// Favourites: pilots that a reader has marked with a star. They stand first in lists. They are kept in the account of who is
// signed in with one, else in this browser.

import { read } from "./page.js";

const KEY = "techport-favourites";
const { account } = read("favourites");  // null without an account

function readBrowser() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return new Set(Array.isArray(kept) ? kept.filter((name) => typeof name === "string") : []);
  } catch {  // storage is off, or something else has written there
    return new Set();
  }
}

/** Keep what a star says now; whether that is kept. */
async function keep(favourites, name) {
  if (account) {
    const body = new URLSearchParams({ pilot: name, marked: favourites.has(name) ? "yes" : "" });
    const answer = await fetch("/account/favourites", { method: "POST", body }).catch(() => null);
    return answer?.ok ?? false;
  }
  try {
    localStorage.setItem(KEY, JSON.stringify([...favourites].sort()));
  } catch {
    // A browser that keeps nothing forgets them with the page.
  }
  return true;
}

/** The rows or entries of a pilot that belong together: a table may have a second row for the sentence. */
function entries(list) {
  const groups = [];
  for (const element of list.children) {
    if (element.dataset.pilot || !groups.length) groups.push({ pilot: element.dataset.pilot, elements: [] });
    groups.at(-1).elements.push(element);
  }
  return groups;
}

function arrange(favourites) {
  for (const star of document.querySelectorAll("[data-favourite]")) {
    star.setAttribute("aria-pressed", favourites.has(star.dataset.favourite));
    star.hidden = false;
  }
  for (const list of document.querySelectorAll("table.portfolio tbody, .pilots > ul")) {
    const groups = entries(list);
    groups.forEach((group, place) => { group.place = place; });
    groups.sort((a, b) => favourites.has(b.pilot) - favourites.has(a.pilot) || a.place - b.place);
    list.append(...groups.flatMap((group) => group.elements));
  }
}

const favourites = account ? new Set(account) : readBrowser();
arrange(favourites);
document.addEventListener("click", async (event) => {
  const star = event.target.closest("[data-favourite]");
  if (!star) return;
  const name = star.dataset.favourite;
  if (!favourites.delete(name)) favourites.add(name);
  star.setAttribute("aria-pressed", favourites.has(name));  // its place changes with the next visit, not under the finger
  if (await keep(favourites, name)) return;
  if (!favourites.delete(name)) favourites.add(name);
  star.setAttribute("aria-pressed", favourites.has(name));
});
