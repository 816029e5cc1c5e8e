// A photo of a device: drawn smaller in the browser, as phones take larger ones than are accepted. It is sent before the
// form of a visit, or by itself.

import { t } from "./page.js";

const form = document.getElementById("visit");
const field = document.getElementById("take");
const input = field.querySelector("input");
const said = document.getElementById("photo-said");
field.hidden = false;

async function smaller(file) {
  try {
    const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, Number(input.dataset.longest) / Math.max(picture.width, picture.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(picture.width * scale));
    canvas.height = Math.max(1, Math.round(picture.height * scale));
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    return (await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85))) ?? file;
  } catch {
    return file; // the server says what is wrong with it
  }
}

async function send(file) {
  said.textContent = t("sending …");
  try {
    const body = await smaller(file);
    const answer = await fetch(input.dataset.address, { method: "POST", headers: { "Content-Type": body.type || "image/jpeg" }, body });
    const told = await answer.json();
    said.textContent = answer.ok ? "" : told.detail;
    if (!answer.ok) return false;
    if (!form) {
      location.reload();
      return true;
    }
    form.elements.photo.value = told.photo;
    const picture = document.createElement("img");
    picture.className = "photo";
    picture.alt = "";
    picture.src = told.address;
    said.replaceChildren(picture);
    return true;
  } catch {
    said.textContent = t("no connection");
    return false;
  }
}

let sending = Promise.resolve(true);
input.addEventListener("change", () => {
  if (form) form.elements.photo.value = "";
  const [file] = input.files;
  sending = file ? send(file) : Promise.resolve(true);
});
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await sending) form.submit();
});
