// How far a job of the server is; when it is over the page is loaded again, which then shows what it came to.

const place = document.getElementById("job");
const EVERY_MS = 500;

async function look() {
  try {
    const answer = await fetch(place.dataset.address, { headers: { Accept: "application/json" } });
    if (answer.status === 404) return location.reload();
    if (answer.ok) {
      const job = await answer.json();
      if (job.state !== "running") return location.reload();
      show(job);
    }
  } catch {
    // the server is away for a moment: look again
  }
  setTimeout(look, EVERY_MS);
}

function show({ step, done, total }) {
  const bar = place.querySelector("progress");
  if (total) {
    bar.max = total;
    bar.value = done;
  } else {
    bar.removeAttribute("value");
  }
  place.querySelector(".step").textContent = total ? `${step} · ${Math.floor((100 * done) / total)} %` : step;
}

if (place) look();
