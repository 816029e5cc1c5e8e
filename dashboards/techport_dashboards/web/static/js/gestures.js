// Looking closer with what is at hand: a mouse draws a stretch, two fingers pinch, one finger pans, a trackpad zooms.

const MOVED = 6;          // px after which a press is no click any more
const SETTLED = 180;      // ms without a turn of the wheel that end a zoom
const SHORTEST = 1000;    // ms that an axis shows at least
const TWICE = 400;        // ms within which a second click makes a double click

/** Where the axis lies on the screen, and which time is where. */
export function scale(chart) {
  const box = chart.plot.getBoundingClientRect();
  const [from, to] = chart.walls;
  const { l, r } = chart.margin;
  const left = box.left + l;
  const width = Math.max(1, box.width - l - r);
  const place = (wall) => left + ((wall - from) / (to - from)) * width;
  const wallAt = (x) => from + (Math.min(Math.max(x - left, 0), width) / width) * (to - from);
  return { box, left, top: chart.margin.t, width, from, to, place, wallAt };
}

/** Until `signal` aborts. What is still under way is shown at once, from the data that is there. */
export function watchGestures(chart, signal) {
  const { plot } = chart;
  const fingers = new Map();   // pointer id -> x, and where each began
  let mouse = null;            // {id, x} of a mouse that is pressed
  let began = null;            // the scale when the fingers that are down came down
  let wanted = null;           // [from, to] that fingers or the wheel have come to
  let wheeled = null;
  let clicked = -Infinity;

  const on = (kind, act, options) => plot.addEventListener(kind, act, { signal, ...options });

  on("pointerdown", (event) => {
    if (!chart.data) return;
    if (event.pointerType === "touch") {
      fingers.set(event.pointerId, { began: event.clientX, x: event.clientX });
      restart();
    } else if (event.button === 0) {
      mouse = { id: event.pointerId, x: event.clientX, moved: false };
    }
  });

  const anywhere = (kind, act) => addEventListener(kind, act, { signal });  // plotly.js lays a sheet over the page meanwhile

  anywhere("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (finger) {
      finger.x = event.clientX;
      followFingers();
    } else if (mouse?.id === event.pointerId && Math.abs(event.clientX - mouse.x) > MOVED) {
      mouse.moved = true;
      drawBrush(plot, scale(chart), mouse.x, event.clientX);
    }
  });

  anywhere("pointerup", (event) => {
    if (mouse?.id === event.pointerId) {
      const { x, moved } = mouse;
      mouse = null;
      plot.querySelector(".brush")?.remove();
      const at = scale(chart);
      if (moved) finish(...[at.wallAt(x), at.wallAt(event.clientX)].sort((a, b) => a - b));
      else click(event);
    }
    lift(event);
  });
  anywhere("pointercancel", (event) => {
    mouse = null;
    plot.querySelector(".brush")?.remove();
    lift(event, true);
  });

  on("wheel", (event) => {  // two fingers on a trackpad come as a wheel with Ctrl; a plain wheel scrolls the page
    if (!event.ctrlKey || !chart.data) return;
    event.preventDefault();
    const at = scale(chart);
    const [from, to] = wanted ?? [at.from, at.to];
    const pivot = from + ((event.clientX - at.left) / at.width) * (to - from);
    const factor = Math.exp(Math.max(-0.5, Math.min(0.5, event.deltaY / 100)));
    show(pivot - (pivot - from) * factor, pivot + (to - pivot) * factor);
    clearTimeout(wheeled);
    wheeled = setTimeout(() => finish(...wanted), SETTLED);
  }, { passive: false });

  /** A finger came or went: what is shown now is what the next movement starts from. */
  function restart() {
    const at = scale(chart);
    began = wanted ? { ...at, from: wanted[0], to: wanted[1] } : at;
    for (const finger of fingers.values()) finger.began = finger.x;
  }

  function followFingers() {
    const down = [...fingers.values()];
    const { left, width, from, to } = began;
    const share = (x) => (x - left) / width;
    if (down.length === 1) {
      if (!wanted && Math.abs(down[0].x - down[0].began) < MOVED) return;
      const by = (share(down[0].began) - share(down[0].x)) * (to - from);
      show(from + by, to + by);
    } else if (down.length === 2) {  // the times that the fingers came down on stay under them
      const [a, b] = down.map((finger) => share(finger.began));
      const [p, q] = down.map((finger) => share(finger.x));
      const factor = Math.abs(p - q) < 0.02 ? 1 : (a - b) / (p - q);
      if (!(factor > 0)) return;
      const start = from + (a - p * factor) * (to - from);
      show(start, start + factor * (to - from));
    }
  }

  function lift(event, cancelled = false) {
    const finger = fingers.get(event.pointerId);
    if (!fingers.delete(event.pointerId)) return;
    if (fingers.size) restart();
    else if (wanted) finish(...wanted);
    else if (!cancelled && Math.abs(finger.x - finger.began) < MOVED) click(event);  // cancelled: the browser scrolls
  }

  /** plotly.js's sheet swallows the browser's own click and double click. */
  function click(event) {
    const twice = event.timeStamp - clicked < TWICE;
    clicked = twice ? -Infinity : event.timeStamp;
    if (twice) chart.onReset();
    else chart.onPoint(chart, scale(chart).wallAt(event.clientX));
  }

  function show(from, to) {
    const short = Math.max(0, SHORTEST - (to - from)) / 2;
    wanted = [from - short, to + short];
    chart.preview(...wanted);
  }

  function finish(from, to) {
    wanted = null;
    chart.onZoom(chart, from, to);
  }
}

function drawBrush(plot, at, from, to) {
  let brush = plot.querySelector(".brush");
  if (!brush) {
    brush = document.createElement("div");
    brush.className = "brush";
    brush.style.top = `${at.top}px`;
    plot.append(brush);
  }
  const [left, right] = [from, to].sort((a, b) => a - b).map((x) => Math.min(Math.max(x, at.left), at.left + at.width));
  brush.style.left = `${left - at.box.left}px`;
  brush.style.width = `${right - left}px`;
}
