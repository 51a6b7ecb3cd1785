"use strict";
const root = document.documentElement;
const report = JSON.parse(document.getElementById("report").textContent);
const drawn = new Map();

function css(name) { return getComputedStyle(root).getPropertyValue(name).trim(); }

// What a theme and a width decide.
function themed(layout) {
  const ink = css("--ink"), line = css("--line");
  const narrow = window.innerWidth < 640;
  const out = structuredClone(layout);
  Object.assign(out, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif", size: narrow ? 10 : 12 },
    margin: { l: 56, r: narrow ? 12 : 24, t: 30, b: 48 }, hovermode: "closest", hoverlabel: { align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--faint"), activecolor: ink },
    legend: narrow ? { orientation: "h", y: -0.18, yanchor: "top" } : { x: 1.06, xanchor: "left", y: 1 },
  });
  if (narrow) out.height += 120;
  for (const key of Object.keys(out)) {
    if (!/^[xy]axis/.test(key)) continue;
    Object.assign(out[key], { gridcolor: line, linecolor: line, zerolinecolor: line });
    // Side by side becomes one below another nowhere: panels only get narrower, their numbers fewer.
    if (narrow) out[key].nticks = 4;
  }
  return out;
}

// Black marks would vanish on dark paper.
function inked(data) {
  const ink = css("--ink");
  return data.map((trace) => {
    if (trace.meta !== "#000000") return trace;
    const out = { ...trace, line: { ...trace.line, color: ink } };
    if (trace.marker) out.marker = { ...trace.marker, color: ink };
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
  drawn.set(element, chart);
  return Plotly.react(element, inked(chart.data), themed(chart.layout), CONFIG);
}

// Charts are drawn when they come near the screen: a page of hundreds opens at once.
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    near.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "600px" });

function setTheme(theme) {
  root.dataset.theme = theme;
  for (const element of drawn.keys()) draw(element);
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
    let rows = table.rows.filter((row) => { const line = row.map(shown).join(" ").toLowerCase(); return words.every((word) => line.includes(word)); });
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
document.querySelectorAll("[data-table]").forEach(fill);
document.querySelectorAll("[data-chart]").forEach((element) => near.observe(element));
