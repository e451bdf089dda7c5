"use strict";
// Tables sort by a click on a heading and filter by a text. Without this script the page
// reads the same.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = () => Array.from(body.rows);
  const key = (row, i) => {
    const cell = row.cells[i];
    return cell.dataset.sort !== undefined ? cell.dataset.sort : cell.textContent.trim();
  };
  Array.from(table.tHead.rows[0].cells).forEach((th, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = th.textContent;
    button.title = "Sort by this column";
    th.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = th.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const sorted = rows().map((row, n) => ({ row, n, k: key(row, i) }));
      sorted.sort((a, b) => {
        const x = Number(a.k), y = Number(b.k);
        const c = a.k !== "" && b.k !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : a.k.localeCompare(b.k, "en", { numeric: true });
        return (up ? c : -c) || a.n - b.n;
      });
      body.append(...sorted.map((s) => s.row));
    });
  });
  if (body.rows.length < 6) continue;
  const box = document.createElement("div");
  box.className = "filter";
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Filter rows";
  input.setAttribute("aria-label", "Filter the rows of this table");
  const count = document.createElement("span");
  count.setAttribute("aria-live", "polite");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows()) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((w) => text.includes(w));
      if (!row.hidden) shown++;
    }
    count.textContent = words.length ? shown + " of " + rows().length + " rows" : "";
  });
  box.append(input, count);
  (table.closest(".scroll") || table).before(box);
}
