// Printing: every chart is drawn for the sheet before the browser lays it out, also those nobody has scrolled to.

const SHEET = { paper: true, width: 668, height: 210 };  // px inside a chart's frame on A4 with the style sheet's margins

export function printable(charts) {
  const forPaper = () => { for (const chart of charts) chart.draw(SHEET); };
  const forScreen = () => { for (const chart of charts) if (chart.drawn) chart.draw(); };
  addEventListener("beforeprint", forPaper);
  addEventListener("afterprint", forScreen);

  const button = document.getElementById("print");
  button?.addEventListener("click", async () => {
    button.disabled = true;
    await complete(charts);
    button.disabled = false;
    print();
  });
}

/** Fetch what charts further down have not asked for yet, one by one. */
export async function complete(charts) {
  for (const chart of charts) if (!chart.data || chart.stale) await chart.load(chart.range, { eager: true });
}
