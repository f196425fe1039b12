/* Draws the figures that pages carry as JSON, in the page's own colours, and follows bars to the pages they stand for.
   Without it, the tables below the figures say the same. */
"use strict";

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false, scrollZoom: false };

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(name).trim();
}

function paint(figure) {
  const colour = colours();
  const axis = { gridcolor: colour("--line"), linecolor: colour("--line-strong"), zerolinecolor: colour("--line-strong"), tickcolor: colour("--line-strong") };
  const layout = structuredClone(figure.layout);
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" });
  layout.font = { ...layout.font, family: getComputedStyle(document.body).fontFamily, color: colour("--muted") };
  layout.hoverlabel = { bgcolor: colour("--raised"), bordercolor: colour("--line-strong"), font: { ...layout.font, color: colour("--text") } };
  for (const name of ["xaxis", "yaxis"]) layout[name] = { ...axis, ...layout[name] };
  const data = figure.data.map((trace) => ({ ...trace, marker: { ...trace.marker, color: colour("--bar") } }));
  return { data, layout };
}

function draw(drawing) {
  const source = document.getElementById(drawing.dataset.figure);
  const { data, layout } = paint(JSON.parse(source.textContent));
  Plotly.react(drawing, data, layout, CONFIG);
}

function follow(event) {
  const address = event.points[0]?.customdata;
  if (address) location.assign(address);
}

function drawAll() {
  for (const drawing of document.querySelectorAll(".drawing[data-figure]")) {
    const isNew = !drawing.classList.contains("js-plotly-plot");
    draw(drawing);
    if (isNew && drawing.classList.contains("linked")) drawing.on("plotly_click", follow);
  }
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
