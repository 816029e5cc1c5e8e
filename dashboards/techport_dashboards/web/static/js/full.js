// One chart on the whole screen, until Escape or its button.

/** The browser's full screen where it has one for parts of a page, else the whole of its window. Again: back. */
export async function fullScreen(chart) {
  const { figure } = chart;
  figure.querySelector(".chart-menu").open = false;
  if (chart.shrink) { chart.shrink(); return; }
  const stop = new AbortController();
  chart.shrink = () => {
    chart.shrink = null;
    stop.abort();
    figure.classList.remove("full");
    if (document.fullscreenElement === figure) document.exitFullscreen();
    chart.draw();
  };
  figure.classList.add("full");
  await figure.requestFullscreen?.().catch(() => {});  // refused, as in a frame: the window is what there is
  addEventListener("resize", () => chart.draw(), { signal: stop.signal });
  addEventListener("keydown", (event) => { if (event.key === "Escape") chart.shrink(); }, { signal: stop.signal });
  figure.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement) chart.shrink?.(); }, { signal: stop.signal });
  chart.draw();
}
