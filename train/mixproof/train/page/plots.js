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

  function draw(element) {
    const checked = element.closest("figure").querySelector(".views input:checked");
    element.dataset.drawn = "yes";
    const figure = figures[element.id][checked ? checked.value : ""];
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { data, layout } = themed({ data: figure.data, layout: figure.layout }, colour);
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
    element.style.minHeight = `${layout.height}px`;
    return Plotly.react(element, data, { ...ground, ...layout, font, legend, hoverlabel, width, autosize: false }, { displayModeBar: false });
  }

  // A plot in a folded section has no width: it is drawn when the section opens.
  const folded = (element) => element.closest("details:not([open])") !== null;

  async function drawAll() {
    delete root.dataset.drawn;
    for (const element of document.querySelectorAll(".plot")) {
      delete element.dataset.drawn;
      if (!folded(element)) await draw(element);
    }
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
    for (const element of document.querySelectorAll(".plot")) {
      element.style.minHeight = `${Object.values(figures[element.id])[0].layout.height}px`;
    }
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
    for (const element of document.querySelectorAll(".plot")) {
      element.closest("figure").addEventListener("change", () => draw(element));
    }
    document.addEventListener("toggle", (event) => {
      if (!event.target.open || printing) return;
      for (const element of event.target.querySelectorAll(".plot:not([data-drawn])")) if (!folded(element)) draw(element);
    }, true);
    addEventListener("beforeprint", () => {
      printing = true;
      drawAll();
    });
    addEventListener("afterprint", () => {
      printing = false;
      drawAll();
    });
  }

  plots();
})();
