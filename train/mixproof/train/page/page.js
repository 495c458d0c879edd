"use strict";
(() => {
  const root = document.documentElement;
  const NARROW = 600;
  const PRINTED = 680;
  const TOKENS = { "@ink": "--ink", "@muted": "--muted", "@faint": "--faint", "@paper": "--paper" };
  const figures = JSON.parse(document.getElementById("figures").textContent);
  let printing = false;

  // Plots ---------------------------------------------------------------------------------------------------------
  async function loadPlotly() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(unpacked).text();
    document.head.append(script);
  }

  function themed(value, colour) {
    if (typeof value === "string") return value in TOKENS ? colour(TOKENS[value]) : value;
    if (Array.isArray(value)) return value.map((part) => themed(part, colour));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, themed(part, colour)]));
  }

  function put(target, dotted, value) {
    const names = dotted.split(".");
    const last = names.pop();
    const parent = names.reduce((part, name) => (part[name] ??= {}), target);
    parent[last] = value;
  }

  // plotly.js lays out a Sankey diagram asynchronously, which printing does not wait for: scale it instead of redrawing it.
  function draw(element) {
    const checked = element.closest("figure").querySelector(".views input:checked");
    const figure = figures[element.id][checked ? checked.value : ""];
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { data, layout } = themed({ data: figure.data, layout: figure.layout }, colour);
    if (printing && data[0].type === "sankey") {
      element.firstElementChild.style.zoom = Math.min(1, PRINTED / element.firstElementChild.clientWidth);
      return null;
    }
    const width = printing ? PRINTED : element.clientWidth;
    if (width < NARROW) {
      for (const [name, value] of Object.entries(figure.narrow.layout)) put(layout, name, themed(value, colour));
      for (const trace of data) for (const [name, value] of Object.entries(figure.narrow.trace)) put(trace, name, themed(value, colour));
    }
    for (const [name, axis] of Object.entries(layout)) {
      if (!/^[xy]axis/.test(name)) continue;
      layout[name] = { gridcolor: colour("--grid"), linecolor: colour("--faint"), tickcolor: colour("--faint"), fixedrange: matchMedia("(pointer: coarse)").matches, ...axis };
    }
    const font = { family: style.getPropertyValue("--sans"), size: 13, color: colour("--ink"), ...layout.font };
    const legend = { font: { size: 12 }, itemsizing: "constant", ...layout.legend };
    const hoverlabel = { bgcolor: colour("--sheet"), bordercolor: colour("--faint"), font: { color: colour("--ink") } };
    const ground = { paper_bgcolor: colour("--paper"), plot_bgcolor: colour("--paper") };
    if (element.firstElementChild) element.firstElementChild.style.zoom = "";
    element.style.minHeight = `${layout.height}px`;
    return Plotly.react(element, data, { ...ground, ...layout, font, legend, hoverlabel, width, autosize: false }, { displayModeBar: false });
  }

  async function drawAll() {
    delete root.dataset.drawn;
    for (const element of document.querySelectorAll(".plot")) await draw(element);
    root.dataset.drawn = "yes";
  }

  function later(action) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(action, 150);
    };
  }

  async function plots() {
    try {
      await loadPlotly();
    } catch (error) {
      for (const element of document.querySelectorAll(".plot")) {
        element.classList.add("without");
        element.textContent = "This browser is too old to draw the plot (browsers from 2023 on can). The tables have the same numbers.";
      }
      throw error;
    }
    await drawAll();
    let width = innerWidth;
    addEventListener("resize", later(() => {
      if (innerWidth !== width && !printing) drawAll();
      width = innerWidth;
    }));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    for (const input of document.querySelectorAll(".views input")) {
      input.addEventListener("change", () => {
        const figure = input.closest("figure");
        const element = figure.querySelector(".plot");
        for (const caption of figure.querySelectorAll("figcaption")) {
          caption.hidden = caption.dataset.view !== input.value;
          if (!caption.hidden) element.setAttribute("aria-label", caption.dataset.label);
        }
        draw(element);
      });
    }
    const opened = [];
    addEventListener("beforeprint", () => {
      printing = true;
      for (const part of document.querySelectorAll("details.data:not([open])")) {
        part.open = true;
        opened.push(part);
      }
      drawAll();
    });
    addEventListener("afterprint", () => {
      printing = false;
      for (const part of opened.splice(0)) part.open = false;
      drawAll();
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

  plots();
})();
