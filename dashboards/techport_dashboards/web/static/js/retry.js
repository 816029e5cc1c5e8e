// A page that could not be made tries again until it can.

async function retry() {
  try {
    if ((await fetch(location.href, { cache: "no-store", headers: { accept: "text/html" } })).ok) return location.reload();
  } catch { /* the server itself is away: keep trying */ }
  return setTimeout(retry, 5000);
}

setTimeout(retry, 5000);
