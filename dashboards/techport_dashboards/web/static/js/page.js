// What the server says about the page: texts in the reader's language, and how often it gives a sign of life.

const page = JSON.parse(document.getElementById("page").textContent);

/** What addresses of this platform begin with on this page: nothing, or the address of a shared feed. */
export const root = page.root;
export const language = { nb: "nb-NO", nn: "nn-NO", en: "en-GB" }[page.language];
export const heartbeat = page.heartbeat * 1000;
export const t = (message) => page.messages[message] ?? message;

const formats = new Map();

/** A number in the reader's form, with the decimals given. */
export function number(value, decimals) {
  if (!formats.has(decimals)) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    formats.set(decimals, new Intl.NumberFormat(language, digits));
  }
  return formats.get(decimals).format(value);
}

export function read(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : {};
}

/** Resolves when the first chart is drawn, or cannot be for a while: what can wait lets it have the machine. */
export const firstChart = new Promise((resolve) => {
  if (!document.querySelector("figure.chart .plot")) resolve();
  addEventListener("chart-drawn", resolve, { once: true });
  setTimeout(resolve, 1500);
});
