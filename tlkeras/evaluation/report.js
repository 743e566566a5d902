"use strict";
// All that this page says is there without this script, which sorts, filters, shows previews, and opens what a link leads to.

// A number in a cell, whatever unit stands behind it; texts without a number come last.
function numberIn(text) {
  const found = /[-−+]?\d[\d.,]*(e[-+]?\d+)?/i.exec(text.replace("±", ""));
  return found ? parseFloat(found[0].replace("−", "-").replace(/,/g, "")) * (/ MB/.test(text) ? 1000 : 1) : null;
}

function sortable(table) {
  const body = table.tBodies[0];
  if (!table.tHead || body.rows.length < 3) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (!button.textContent) button.setAttribute("aria-label", "Sort by name");
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
      const counts = rows.every(({ text }) => numberIn(text) !== null || /^[–-]?$/.test(text));
      rows.sort((a, b) => {
        if (!counts) return (up ? 1 : -1) * a.text.localeCompare(b.text, undefined, { numeric: true });
        const x = numberIn(a.text), y = numberIn(b.text);
        return x === null || y === null ? (x === null) - (y === null) : (up ? 1 : -1) * (x - y);
      });
      body.append(...rows.map(({ row }) => row));
    });
  });
}

// Columns of words stand on the left.
function aligned(table) {
  if (!table.tHead) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]).filter(Boolean);
    if (cells.some((cell) => /^[^\d±–-]{2}/.test(cell.textContent.trim()))) [head, ...cells].forEach((cell) => cell.classList.add("word"));
  });
}

function filtered(box) {
  const cards = [...box.querySelectorAll(".example[data-truth]")];
  const bar = document.createElement("div");
  bar.className = "filter";
  const choices = {};
  for (const [key, words] of [["truth", "true"], ["answer", "predicted"]]) {
    const names = [...new Set(cards.map((card) => card.dataset[key]))].sort();
    if (names.length < 2) continue;
    const label = document.createElement("label"), select = document.createElement("select");
    select.append(new Option("any", ""), ...names.map((name) => new Option(name)));
    label.append(`${words} label `, select);
    bar.append(label);
    choices[key] = select;
  }
  bar.addEventListener("change", () => {
    for (const card of cards) card.hidden = Object.entries(choices).some(([key, select]) => select.value && card.dataset[key] !== select.value);
    const asked = Object.values(choices).some((select) => select.value);
    for (const part of [...box.querySelectorAll("details")].reverse()) {
      part.hidden = !part.querySelector(".example:not([hidden])");
      if (asked && !part.hidden) part.open = true;
    }
  });
  if (bar.children.length) box.prepend(bar);
}

function previewed(map) {
  const box = document.createElement("div");
  box.className = "hover";
  box.hidden = true;
  document.body.append(box);
  const show = (event) => {
    const link = event.target.closest("a[href^='#']");
    const card = link && document.getElementById(decodeURIComponent(link.getAttribute("href").slice(1)));
    box.hidden = !card;
    if (!card) return;
    const copy = card.cloneNode(true);
    copy.removeAttribute("id");
    box.replaceChildren(copy);
    const place = link.getBoundingClientRect();
    const left = place.right + 12 + box.offsetWidth > innerWidth ? place.left - box.offsetWidth - 12 : place.right + 12;
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${Math.max(8, Math.min(place.top - 40, innerHeight - box.offsetHeight - 8))}px`;
  };
  for (const link of map.querySelectorAll("a")) link.querySelector("title")?.remove();
  map.addEventListener("pointerover", show);
  map.addEventListener("focusin", show);
  map.addEventListener("pointerleave", () => { box.hidden = true; });
  map.addEventListener("focusout", () => { box.hidden = true; });
}

// Not every browser opens what is closed around the target of a link.
function revealed() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target?.parentElement; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target?.closest("details")) { target.scrollIntoView({ block: "center" }); target.focus({ preventScroll: true }); }
}

document.querySelectorAll("table.data").forEach((table) => { aligned(table); sortable(table); });
document.querySelectorAll("[data-filter]").forEach(filtered);
document.querySelectorAll("[data-map]").forEach(previewed);
addEventListener("hashchange", revealed);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (link && link.getAttribute("href") === location.hash) revealed();
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
if (location.hash) revealed();
