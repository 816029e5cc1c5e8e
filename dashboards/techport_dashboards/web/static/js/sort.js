// Links that sort keep what the page shows now: a range that was zoomed to is in the address only.

for (const link of document.querySelectorAll("a[data-sort]")) {
  link.addEventListener("click", () => {
    const address = new URL(location.href);
    const wanted = new URL(link.href);
    address.searchParams.set("sort", wanted.searchParams.get("sort"));
    address.hash = wanted.hash;
    link.href = address;
  });
}
