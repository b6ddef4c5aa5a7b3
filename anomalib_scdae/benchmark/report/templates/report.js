// SPDX-License-Identifier: Apache-2.0
"use strict";

// Rows are sorted within their own body, so that published figures never mix with measured ones.
function sortTable(table, header, button) {
  const previous = header.getAttribute("aria-sort");
  const opposite = { ascending: "descending", descending: "ascending" };
  const order = opposite[previous] || button.dataset.first;
  const sign = order === "ascending" ? 1 : -1;
  const column = Number(button.dataset.column);
  const numeric = header.classList.contains("number");
  const key = (row) => row.cells[column].dataset.sort;
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true }));
  };
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("title"));
    body.append(...rows.sort(compare));
  }
  for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", order);
  document.getElementById("status").textContent = `Sorted by ${button.textContent}, ${order}.`;
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  for (const button of table.querySelectorAll("th[aria-sort] button")) {
    button.addEventListener("click", () => sortTable(table, button.closest("th"), button));
  }
}

const viewer = document.getElementById("viewer");
for (const button of document.querySelectorAll(".zoom")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    const copy = new Image();
    copy.src = image.src;
    copy.alt = image.alt;
    viewer.querySelector(".scroll").replaceChildren(copy);
    viewer.querySelector("p").textContent = image.alt;
    viewer.showModal();
  });
}
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close();
});
