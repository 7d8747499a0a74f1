"use strict";

/* Sort a table by a click on the head of a column; cells without a key (absent values) stay last either way. */
function makeSortable(table) {
  const body = table.tBodies[0];
  const original = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const collator = new Intl.Collator("en", { numeric: true });

  function compare(first, second, isNumber) {
    return isNumber ? Number(first) - Number(second) : collator.compare(first, second);
  }

  function sortBy(column, descending) {
    const isNumber = heads[column].classList.contains("number");
    const key = (row) => row.cells[column].dataset.key;
    const present = original.filter((row) => key(row) !== undefined);
    const absent = original.filter((row) => key(row) === undefined);
    present.sort((a, b) => (descending ? -1 : 1) * compare(key(a), key(b), isNumber));
    body.replaceChildren(...present, ...absent);
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      sortBy(column, head.getAttribute("aria-sort") === "ascending");
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
