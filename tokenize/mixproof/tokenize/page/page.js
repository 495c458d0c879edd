"use strict";
(() => {
  const narrow = matchMedia("(max-width: 44rem)");

  // Sections: open on a wide screen and on paper, folded on a narrow one ------------------------------------------------
  function fold() {
    for (const part of document.querySelectorAll("details.fold")) part.open = !narrow.matches;
  }
  narrow.addEventListener("change", fold);
  fold();
  const opened = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details.fold:not([open]), details.data:not([open])")) {
      part.open = true;
      opened.push(part);
    }
  });
  addEventListener("afterprint", () => {
    for (const part of opened.splice(0)) part.open = false;
  });

  // Views: of several forms of a figure, the reader chooses one ---------------------------------------------------------
  for (const input of document.querySelectorAll(".views input")) {
    input.addEventListener("change", () => {
      const figure = input.closest("figure");
      for (const part of figure.querySelectorAll("[data-view]")) {
        part.hidden = part.dataset.view !== input.value;
        if (!part.hidden && part.dataset.label) figure.querySelector(".plot").setAttribute("aria-label", part.dataset.label);
      }
    });
  }

  // Tables --------------------------------------------------------------------------------------------------------
  function sort(button) {
    const head = button.closest("th");
    const table = head.closest("table");
    const heads = [...head.parentNode.children];
    const column = heads.indexOf(head);
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const numbers = head.classList.contains("number");
    const value = (row) => row.children[column].dataset.sort ?? row.children[column].textContent;
    const number = (row) => Number(value(row).replace("inf", "Infinity"));
    const order = numbers ? (a, b) => number(a) - number(b) || 0 : (a, b) => value(a).localeCompare(value(b));
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a)));
    body.append(...rows);
  }
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sort(button));

  // Statements: `#run-…:/heldout/code/loss` opens the run's record and marks that line ----------------------------------
  function lineOf(lines, path) {
    let at = 0;
    for (const [depth, name] of path.entries()) {
      const indent = " ".repeat(depth + 1);
      let element = -1;
      let found = -1;
      for (let next = at + 1; next < lines.length && lines[next].startsWith(indent); next += 1) {
        if (lines[next][depth + 1] === " " || /^[\]}]/.test(lines[next][depth + 1])) continue;
        const key = /^\s*("(?:[^"\\]|\\.)*"): /.exec(lines[next]);
        element += 1;
        if (lines[at].trimEnd().endsWith("[") ? String(element) === name : key && JSON.parse(key[1]) === name) {
          found = next;
          break;
        }
      }
      if (found < 0) return at;
      at = found;
    }
    return at;
  }

  function show() {
    const [id, pointer] = decodeURIComponent(location.hash.slice(1)).split(/:\/(.*)/s);
    const target = id && document.getElementById(id);
    if (!target) return;
    if (target.matches("section")) target.querySelector(":scope > details.fold").open = true;
    for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    for (const old of document.querySelectorAll("tr.hit")) old.classList.remove("hit");
    if (target.tagName === "TR") target.classList.add("hit");
    const text = target.querySelector("pre");
    if (!text || !target.matches(".statement")) {
      target.scrollIntoView({ block: target.tagName === "TR" ? "center" : "start" });
      return;
    }
    const whole = text.textContent;
    text.textContent = whole;
    target.scrollIntoView();
    if (pointer === undefined) return;
    const lines = whole.split("\n");
    const line = lineOf(lines, pointer.split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~")));
    const mark = document.createElement("mark");
    mark.tabIndex = -1;
    mark.textContent = lines[line];
    text.replaceChildren([...lines.slice(0, line), ""].join("\n"), mark, ["", ...lines.slice(line + 1)].join("\n"));
    mark.focus({ preventScroll: true });
    mark.scrollIntoView({ block: "center" });
  }
  addEventListener("hashchange", show);
  show();
})();
