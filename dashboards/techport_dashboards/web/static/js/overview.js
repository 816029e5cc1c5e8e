// The overview: marks, values and ages kept current.

import { connect } from "./live.js";
import { keepAges, setAgo } from "./time.js";
import { showLatest } from "./values.js";

function onReadings(items) {
  showLatest(items);
  for (const item of items) {
    const last = document.querySelector(`[data-pilot="${CSS.escape(item.pilot)}"] .last`);
    if (last) setAgo(last, item.received);
  }
}

async function onResync() {
  const answer = await fetch("/api/v1/latest");
  if (answer.ok) onReadings((await answer.json()).items.filter((item) => Date.now() - Date.parse(item.received) < 60000));
}

keepAges();
connect({ onReadings, onResync });
