// Buttons that copy what stands in a field.

import { t } from "./page.js";

for (const button of document.querySelectorAll("button[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {  // without leave to the clipboard it stays selected: one key copies it
      return;
    }
    const before = button.textContent;
    button.textContent = t("copied");
    setTimeout(() => { button.textContent = before; }, 2000);
  });
}
