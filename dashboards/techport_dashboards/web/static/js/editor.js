// What the editor of a pilot has with scripts only: several names in one field, and files that are chosen.

// A list of names takes the place of the whole text, so it offers what is written already with each name behind it.
for (const field of document.querySelectorAll("input[list]")) {
  const names = document.getElementById(field.getAttribute("list"));
  if (!/\.(streams|groups|devices|control|quantities)$/.test(field.name) || !names) continue;
  const own = document.createElement("datalist");
  own.id = `${field.id}-names`;
  field.after(own);
  field.setAttribute("list", own.id);
  const offer = () => {
    const before = field.value.includes(",") ? `${field.value.slice(0, field.value.lastIndexOf(","))}, ` : "";
    own.replaceChildren(
      ...[...names.options].map((name) => {
        const option = document.createElement("option");
        option.value = before + name.value;
        option.label = name.label;
        return option;
      }),
    );
  };
  field.addEventListener("focus", offer);
  field.addEventListener("input", offer);
}

const choose = document.getElementById("choose");
const text = document.getElementById("text");
if (choose && text) {
  choose.hidden = false;
  choose.querySelector("input").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) text.value = await file.text();
  });
  for (const link of document.querySelectorAll("[data-line]")) {
    link.addEventListener("click", () => {
      const lines = text.value.split("\n");
      const start = lines.slice(0, link.dataset.line - 1).join("\n").length + (link.dataset.line > 1 ? 1 : 0);
      text.focus();
      text.setSelectionRange(start, start + (lines[link.dataset.line - 1] ?? "").length);
      text.scrollTop = (link.dataset.line - 4) * (text.scrollHeight / lines.length);
    });
  }
}

// Leaving with something written and not saved asks first.
const form = document.querySelector("form.editor");
let written = document.querySelector("[aria-invalid], .wrong") !== null;
form?.addEventListener("input", () => { written = true; });
form?.addEventListener("submit", () => { written = false; });
// What a browser does not accept may be in a part that was folded meanwhile.
form?.addEventListener("invalid", ({ target }) => {
  for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
}, true);
window.addEventListener("beforeunload", (event) => { if (written) event.preventDefault(); });
