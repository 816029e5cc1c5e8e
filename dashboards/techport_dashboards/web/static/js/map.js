// The map of devices: zoom and pan by touch, mouse and keys, devices that lie on each other as one, and labels with room.
// The server draws it whole; without this module it is a picture whose marks are links.

import { firstChart, read, t } from "./page.js";

const DEEPEST = 64;      // times closer than the whole
const STEP = 1.6;        // of a button, a key or a double click
const TOGETHER = 34;     // CSS px: marks nearer to each other are one
const SYMBOL = 1.15;     // of a mark, whose symbol is 12 units wide, in CSS px
const MOVED = 6;         // px after which a press is no click any more
const TILE = 256;
const WORST_FIRST = ["never", "silent", "late", "live", "ended"];
const SVG = "http://www.w3.org/2000/svg";

/** `tapped` is called with the place of the drawing that was clicked beside any device, `shown` after each zoom with the
 * length of a CSS px. */
export function watchMap(frame, { tapped = () => {}, shown = () => {} } = {}) {
  const svg = frame.querySelector("svg.city");
  if (!svg) return;
  const { width, height } = svg.viewBox.baseVal;
  const { words, tiles } = read("map-data");
  const marks = [...svg.querySelectorAll(".mark")].map((element) => {
    const [x, y] = element.getAttribute("transform").match(/-?[\d.]+/g).map(Number);
    return { element, x, y, label: element.querySelector("text") };
  });
  const clusters = svg.appendChild(document.createElementNS(SVG, "g"));
  const view = { x: 0, y: 0, w: width };
  const unit = () => view.w / (svg.clientWidth || width);  // of the drawing in a CSS px
  const stateOf = ({ element }) => WORST_FIRST.findIndex((state) => element.classList.contains(state));

  svg.classList.add("zooms");
  svg.setAttribute("tabindex", "0");
  frame.querySelector(".zoom").hidden = false;

  function show(x, y, w) {
    view.w = Math.min(width, Math.max(width / DEEPEST, w));
    const h = (view.w * height) / width;
    view.x = Math.min(width - view.w, Math.max(0, x));
    view.y = Math.min(height - h, Math.max(0, y));
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${h}`);
    svg.classList.toggle("closer", view.w < width);
    for (const { element, x: at, y: down } of marks) element.setAttribute("transform", `translate(${at} ${down}) scale(${SYMBOL * unit()})`);
    gather();
    if (tiles) drawTiles(h);
    shown(unit());
  }

  /** Zoom by a factor about a place of the drawing, which stays where it is. */
  function zoom(factor, x = view.x + view.w / 2, y = view.y + (view.w * height) / width / 2) {
    const w = Math.min(width, Math.max(width / DEEPEST, view.w / factor));
    const share = w / view.w;
    show(x - (x - view.x) * share, y - (y - view.y) * share, w);
  }

  /** Marks that lie on each other become one with their number, in the state of the worst; at the closest they do not. */
  function gather() {
    const near = view.w > (1.01 * width) / DEEPEST ? TOGETHER * unit() : 0;
    const groups = [];
    for (const mark of [...marks].sort((a, b) => stateOf(a) - stateOf(b))) {
      const group = groups.find(([seed]) => Math.hypot(seed.x - mark.x, seed.y - mark.y) < near);
      if (group) group.push(mark);
      else groups.push([mark]);
    }
    clusters.replaceChildren();
    for (const group of groups) {
      for (const { element } of group) element.toggleAttribute("hidden", group.length > 1);
      if (group.length > 1) clusters.prepend(cluster(group));
    }
    label(groups);
  }

  function cluster(group) {
    const [{ x, y }] = group;  // where the worst is: no two of these lie on each other
    const state = WORST_FIRST[stateOf(group[0])];
    const one = document.createElementNS(SVG, "g");
    const parts = { class: `cluster ${state}`, tabindex: "0", role: "button", transform: `translate(${x} ${y}) scale(${unit()})` };
    for (const [name, value] of Object.entries(parts)) one.setAttribute(name, value);
    one.setAttribute("aria-label", `${group.length} ${t("devices here")}, ${words[state]}`);
    for (const [name, radius] of [["target", 22], ["ring", 15]]) {
      const circle = one.appendChild(document.createElementNS(SVG, "circle"));
      circle.setAttribute("class", name);
      circle.setAttribute("r", radius);
    }
    const text = one.appendChild(document.createElementNS(SVG, "text"));
    text.textContent = group.length;
    const open = () => {
      const [left, right] = [Math.min, Math.max].map((f) => f(...group.map((mark) => mark.x)));
      const [top, bottom] = [Math.min, Math.max].map((f) => f(...group.map((mark) => mark.y)));
      const w = Math.min(view.w / STEP, 1.8 * Math.max(right - left, ((bottom - top) * width) / height));
      show((left + right - w) / 2, (top + bottom - (w * height) / width) / 2, w);
    };
    one.addEventListener("click", open);
    one.addEventListener("keydown", (event) => { if (["Enter", " "].includes(event.key)) { event.preventDefault(); open(); svg.focus(); } });
    return one;
  }

  /** Labels from the worst device on, each where no other one or mark is. */
  function label(groups) {
    const px = unit();
    const taken = groups.map(([{ x, y }]) => [x - 9 * px, y - 9 * px, x + 9 * px, y + 9 * px]);
    const right = view.x + view.w;
    taken.push([right - 62 * px, view.y, right, view.y + 152 * px]);  // the buttons
    const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
    groups.forEach((group, place) => {
      const [{ label: text, x, y }] = group;
      if (!text) return;
      const long = text.textContent.length * 6.4 * px;
      const box = [x + 10 * px, y - 8 * px, x + 12 * px + long, y + 8 * px];
      const free = group.length === 1 && box[2] < right && taken.every((other, i) => i === place || !overlap(box, other));
      text.classList.toggle("spare", !free);
      if (free) taken.push(box);
    });
  }

  /** The tile server's pictures at the detail of what is shown, over those of the whole. */
  function drawTiles(h) {
    const layer = svg.querySelector(".tiles");
    for (const finer of layer.querySelectorAll(".finer")) finer.remove();
    if (view.w === width) return;
    const lon = (x) => tiles.west + x / tiles.per_lon;
    const lat = (y) => tiles.north - y / tiles.per_lat;
    const zoomed = Math.min(tiles.deepest, Math.ceil(Math.log2((360 / (lon(view.x + view.w) - lon(view.x))) * ((svg.clientWidth || width) / TILE))));
    const side = 2 ** zoomed;
    const column = (degrees) => Math.floor(((degrees + 180) / 360) * side);
    const row = (degrees) => Math.floor(((1 - Math.asinh(Math.tan((degrees * Math.PI) / 180)) / Math.PI) / 2) * side);
    const left = (number) => ((number / side) * 360 - 180 - tiles.west) * tiles.per_lon;
    const top = (number) => (tiles.north - (Math.atan(Math.sinh(Math.PI * (1 - (2 * number) / side))) * 180) / Math.PI) * tiles.per_lat;
    for (let c = column(lon(view.x)); c <= column(lon(view.x + view.w)); c += 1) {
      for (let r = row(lat(view.y)); r <= row(lat(view.y + h)); r += 1) {
        const picture = layer.appendChild(document.createElementNS(SVG, "image"));
        const href = tiles.template.replace("{z}", zoomed).replace("{x}", c).replace("{y}", r);
        const box = { href, x: left(c), y: top(r), width: left(c + 1) - left(c), height: top(r + 1) - top(r), class: "finer", preserveAspectRatio: "none" };
        for (const [name, value] of Object.entries(box)) picture.setAttribute(name, value);
      }
    }
  }

  const keys = { "+": () => zoom(STEP), "-": () => zoom(1 / STEP), 0: () => show(0, 0, width), Home: () => show(0, 0, width) };
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [across, down] = ways[event.key] ?? [];
    if (across !== undefined && view.w < width) show(view.x + across * view.w * 0.2, view.y + down * view.w * 0.2, view.w);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  for (const button of frame.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => keys[button.dataset.zoom]());

  const place = ({ clientX, clientY }) => {
    const box = svg.getBoundingClientRect();
    return [view.x + (clientX - box.left) * unit(), view.y + (clientY - box.top) * unit()];
  };
  svg.addEventListener("dblclick", (event) => { event.preventDefault(); zoom(STEP, ...place(event)); });
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;  // a plain wheel scrolls the page; with Ctrl, and as a trackpad's pinch, it zooms
    event.preventDefault();
    zoom(Math.exp(Math.max(-0.4, Math.min(0.4, -event.deltaY / 100))), ...place(event));
  }, { passive: false });
  svg.addEventListener("touchmove", (event) => { if (event.touches.length > 1 && event.cancelable) event.preventDefault(); }, { passive: false });

  const down = new Map();   // pointers: where they are
  let moved = false;
  svg.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    if (!down.size) moved = false;
    down.set(event.pointerId, { clientX: event.clientX, clientY: event.clientY, began: event.clientX + event.clientY });
  });
  addEventListener("pointermove", (event) => {
    const pointer = down.get(event.pointerId);
    if (!pointer) return;
    const [before, others] = [{ ...pointer }, [...down.values()].filter((other) => other !== pointer)];
    if (Math.abs(event.clientX - pointer.clientX) + Math.abs(event.clientY - pointer.clientY) > MOVED) moved = true;
    if (!moved) return;
    Object.assign(pointer, { clientX: event.clientX, clientY: event.clientY });
    const dx = (event.clientX - before.clientX) * unit();
    const dy = (event.clientY - before.clientY) * unit();
    if (others.length === 1) {
      const [still] = others;
      const apart = (a) => Math.hypot(a.clientX - still.clientX, a.clientY - still.clientY);
      const [x, y] = place({ clientX: (pointer.clientX + still.clientX) / 2, clientY: (pointer.clientY + still.clientY) / 2 });
      show(view.x - dx / 2, view.y - dy / 2, view.w);
      if (apart(before) > 10) zoom(apart(pointer) / apart(before), x, y);
    } else if (!others.length && view.w < width) {
      show(view.x - dx, view.y - dy, view.w);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, (event) => down.delete(event.pointerId));
  svg.addEventListener("click", (event) => { if (moved) { event.preventDefault(); event.stopPropagation(); moved = false; } }, true);
  svg.addEventListener("click", (event) => { if (!event.target.closest(".mark, .cluster")) tapped(...place(event)); });
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.addEventListener("focusin", ({ target }) => {  // a mark that one comes to by keys is in sight
    const mark = marks.find(({ element }) => element === target);
    const h = (view.w * height) / width;
    if (mark && (mark.x < view.x || mark.x > view.x + view.w || mark.y < view.y || mark.y > view.y + h)) show(mark.x - view.w / 2, mark.y - h / 2, view.w);
  });
  new ResizeObserver(() => show(view.x, view.y, view.w)).observe(svg);
}

/** Labels of another quantity: the map is drawn anew by the server, the rest of the page stays. */
function choose(frame) {
  const form = frame.querySelector("form.map-values");
  form?.querySelector("button").setAttribute("hidden", "");
  form?.querySelector("select").addEventListener("change", async () => {
    const address = new URL(location.href);
    address.searchParams.set("map", form.elements.map.value);
    const answer = await fetch(address, { headers: { accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    history.replaceState(history.state, "", address);
    frame.replaceChildren(...page.querySelector(".map-frame").childNodes);
    start(frame);
    frame.querySelector("form.map-values select").focus();
  });
}

function start(frame) {
  watchMap(frame);
  choose(frame);
}

firstChart.then(() => { for (const frame of document.querySelectorAll(".map-frame:not(.place-frame *)")) start(frame); });
