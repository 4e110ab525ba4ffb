"use strict";
// Sorts the table by the column whose button is pressed; what has no value stays at the end.
const body = document.querySelector(".many tbody");
const heads = [...document.querySelectorAll(".many thead th")];

heads.forEach((head, column) => {
  const button = head.querySelector("button");
  if (!button) return;
  button.addEventListener("click", () => {
    const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
    const value = (row) => row.children[column].dataset.value ?? "";
    const isNumber = head.dataset.kind === "number";
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return turn * (isNumber ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
    };
    body.append(...[...body.rows].sort(compare));
  });
});
