// The key / goes to the search field from anywhere on a page but a field of a form.

const typing = (element) => element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);

addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const field = document.getElementById("search-text") ?? document.querySelector(".bar .search input[type=search]");
  if (!field) return;
  event.preventDefault();
  const menu = field.closest("[popover]");
  if (!field.checkVisibility()) menu?.showPopover();
  field.focus();
  field.select();
});
