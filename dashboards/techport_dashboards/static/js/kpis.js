// The KPIs so far: worked out by the server while the rest of the page is there already.

const place = document.getElementById("kpis");

async function fetchKpis() {
  try {
    const answer = await fetch(place.dataset.address);
    if (answer.ok) place.innerHTML = await answer.text();
  } finally {
    place.removeAttribute("aria-busy");
  }
}

if (place) fetchKpis();
