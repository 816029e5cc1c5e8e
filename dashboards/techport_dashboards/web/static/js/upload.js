// Sends a chosen file as it is, and says what became of it.

import { t } from "./page.js";

const form = document.getElementById("upload");
form.hidden = false;
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = document.getElementById("uploaded");
  const [file] = form.elements.file.files;
  if (!file) return;
  said.textContent = t("sending …");
  const address = new URL(form.action);
  address.searchParams.set("device", form.elements.device.value);
  try {
    const answer = await fetch(address, { method: "POST", headers: { "Content-Type": "text/csv" }, body: file });
    const told = await answer.json();
    said.textContent = answer.ok ? `${t("sent, lines:")} ${told.lines}` : told.detail;
  } catch {
    said.textContent = t("no connection");
  }
});
