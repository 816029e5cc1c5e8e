// The KPIs so far: worked out by the server while the rest of the page is there already.

import { firstChart } from "./page.js";

const place = document.getElementById("kpis");

async function fetchKpis() {
  await firstChart;
  try {
    const answer = await fetch(place.dataset.address);
    if (answer.ok) place.innerHTML = await answer.text();
  } finally {
    place.removeAttribute("aria-busy");
  }
}

if (place) fetchKpis();
