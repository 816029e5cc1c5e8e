// Buttons that copy what stands in a field, or the text of an element.

import { t } from "./page.js";

const SAID_MS = 2000;

for (const button of document.querySelectorAll("button[data-copy]")) {
  const place = document.getElementById(button.dataset.copy);
  const words = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    select(place);
    try {
      await navigator.clipboard.writeText(place.value ?? place.textContent);
    } catch { // without leave to the clipboard it stays selected: one key copies it
      return;
    }
    button.textContent = t("copied");
    setTimeout(() => { button.textContent = words; }, SAID_MS);
  });
}

function select(place) {
  if (place.select) place.select();
  else getSelection().selectAllChildren(place);
}
