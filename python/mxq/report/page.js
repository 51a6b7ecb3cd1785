"use strict";
const root = document.documentElement;
const report = JSON.parse(document.getElementById("report").textContent);
const drawn = new Set();

function css(name) { return getComputedStyle(root).getPropertyValue(name).trim(); }

const phone = matchMedia("(max-width: 640px)");
const BELOW = 48; // pixels: labels and title of an axis
const LINE = 19; // of a legend
const LABELS = 24; // on an axis, at most, on a phone

// What a theme and a width decide.
function themed(chart) {
  const ink = css("--ink"), line = css("--line");
  const narrow = phone.matches;
  const out = structuredClone(narrow && chart.narrow || chart.layout);
  const names = out.showlegend ? chart.data.filter((trace) => trace.showlegend).length : 0;
  // Panels' titles would lie under the buttons where it is narrow.
  const above = narrow && out.annotations.length ? 52 : 30;
  // Below the axes' titles, however high the chart is: a legend counts in heights of the plot.
  const below = { orientation: "h", x: 0, y: -(BELOW + 10) / (out.height - above - BELOW), yanchor: "top" };
  // Beside the plot a legend fits as a whole, also where long labels take of the plot's height; below, with two names a line or so, it
  // takes nothing from the plot.
  const labelled = Object.values(out).some((axis) => axis.tickvals && axis.tickvals.length > LABELS);
  if (narrow) out.height += names && LINE * (Math.ceil(names / 2) + 1);
  else out.height = Math.max(out.height, LINE * names + above + BELOW + (labelled ? 110 : 0));
  Object.assign(out, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif", size: narrow ? 10 : 12 },
    margin: { l: 56, r: narrow ? 12 : 24, t: above, b: BELOW }, hovermode: "closest", hoverlabel: { align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--faint"), activecolor: ink },
    legend: { tracegroupgap: 0, ...(narrow ? below : { x: 1.06, xanchor: "left", y: 1 }) },
    uirevision: "kept", // what was hidden or zoomed stays so in the other theme
  });
  for (const key of Object.keys(out)) {
    if (!/^[xy]axis/.test(key)) continue;
    Object.assign(out[key], { gridcolor: line, linecolor: line, zerolinecolor: line });
    if (!narrow) continue;
    out[key].nticks = 5;
    const every = Math.ceil((out[key].tickvals || []).length / LABELS);
    if (every > 1) {
      for (const name of ["tickvals", "ticktext"]) out[key][name] = out[key][name].filter((_, i) => i % every === 0);
    }
  }
  return out;
}

// Black marks would vanish on dark paper; what sets a line off is as the paper.
function inked(data) {
  const colors = { "#000000": css("--ink"), halo: css("--paper") };
  return data.map((trace) => {
    const color = colors[trace.meta];
    if (!color) return trace;
    const out = { ...trace, line: { ...trace.line, color } };
    if (trace.marker) out.marker = { ...trace.marker, color };
    return out;
  });
}

// No button uploads a chart; a $ is a $.
const CONFIG = {
  responsive: true, displaylogo: false, typesetMath: false,
  showSendToCloud: false, plotlyServerURL: "", modeBarButtonsToRemove: ["sendChartToCloud"],
};

function draw(element) {
  const chart = report.charts[element.dataset.chart];
  Plotly.react(element, inked(chart.data), themed(chart), CONFIG);
  if (drawn.has(element)) return;
  drawn.add(element);
  element.on("plotly_afterplot", () => reachable(element));
  element.addEventListener("keydown", (event) => pressed(element, event));
  reachable(element);
}

function names(element) { return [...element.querySelectorAll(".legend .traces")]; }

// A legend's names are plotly's for the mouse alone; here they are the keyboard's too.
function reachable(element) {
  for (const name of names(element)) {
    const trace = name.__data__[0].trace;
    name.setAttribute("tabindex", "0");
    name.setAttribute("role", "switch");
    name.setAttribute("aria-label", name.textContent);
    name.setAttribute("aria-checked", String(trace.visible === true));
  }
}

// Enter or the space bar is a click.
async function pressed(element, event) {
  const at = names(element).indexOf(event.target);
  if (at < 0 || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  const { legendgroup, visible } = event.target.__data__[0].trace;
  const group = element.data.flatMap((trace, i) => trace.legendgroup === legendgroup ? [i] : []);
  await Plotly.restyle(element, { visible: visible === true ? "legendonly" : true }, group);
  names(element)[at].focus();
}

// Charts are drawn when they come near the screen, so that a page of hundreds opens at once, and one by one, so that each is seen before
// the next is drawn. Thousands of rows wait until the first charts are there.
const waiting = [];
let drawing = false;
let filled = false;

function later(task) { requestAnimationFrame(() => setTimeout(task)); }

function drawNext() {
  drawing = waiting.length > 0;
  if (drawing) {
    draw(waiting.shift());
    later(drawNext);
  } else if (!filled) {
    filled = true;
    document.querySelectorAll("[data-table]").forEach(fill);
  }
}

const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    near.unobserve(entry.target);
    waiting.push(entry.target);
  }
  if (!drawing) drawNext();
}, { rootMargin: "600px" });

function redraw() { for (const element of drawn) draw(element); }

function setTheme(theme) {
  root.dataset.theme = theme;
  redraw();
}

function escape(text) { return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`); }

// A cell as text: what is filtered and sorted by.
function shown(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "object") return value.text;
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(4);
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : shown(a).localeCompare(shown(b), undefined, { numeric: true });
}

function cell(value) {
  if (value !== null && typeof value === "object") {
    return `<td><details><summary>${escape(value.line)}</summary><pre>${escape(value.text)}</pre></details></td>`;
  }
  return `<td${typeof value === "number" ? ' class="number"' : ""}>${escape(shown(value))}</td>`;
}

// A table of report.tables: sorted by its headings, filtered by what is typed.
function fill(element) {
  const table = report.tables[element.dataset.table];
  const filter = element.querySelector("input"), head = element.querySelector("thead"), body = element.querySelector("tbody");
  let sorted = -1, rising = true;
  function write() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = !words.length ? table.rows : table.rows.filter((row) => { const line = row.map(shown).join(" ").toLowerCase(); return words.every((word) => line.includes(word)); });
    if (sorted >= 0) {
      rows = rows.slice().sort((a, b) => {
        const order = compare(a[sorted], b[sorted]);
        return a[sorted] === null || b[sorted] === null || rising ? order : -order;
      });
    }
    body.innerHTML = rows.map((row) => "<tr>" + row.map(cell).join("") + "</tr>").join("");
    [...head.querySelectorAll("th")].forEach((th, i) => th.setAttribute("aria-sort", i !== sorted ? "none" : rising ? "ascending" : "descending"));
  }
  head.innerHTML = "<tr>" + table.columns.map((name) => `<th><button type="button">${escape(name)}</button></th>`).join("") + "</tr>";
  head.querySelectorAll("button").forEach((button, i) => button.addEventListener("click", () => {
    rising = sorted === i ? !rising : true;
    sorted = i;
    write();
  }));
  filter.addEventListener("input", write);
  write();
}

root.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
document.getElementById("theme").addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
phone.addEventListener("change", redraw);
document.querySelectorAll("[data-chart]").forEach((element) => near.observe(element));
if (!document.querySelector("[data-chart]")) later(drawNext);
