/* Draws each chart when it comes near the screen, and the others when the browser is idle. */

const STEP_MS = 700, NARROW = 300;
const config = JSON.parse(document.getElementById("config").textContent);
const make = (tag, text, attributes) => {
  const element = Object.assign(document.createElement(tag), attributes);
  element.textContent = text;
  return element;
};
const unpacked = ({ columns, rows }) =>
  rows.map((row) => Object.fromEntries(columns.map((name, index) => [name, row[index]])));
const shown = (value) => !["", "null", "undefined", "NaN"].includes(String(value));
const orDash = (value) => (shown(value ?? "") ? value : "–");

function specOf(figure) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  spec.datasets = { rows: unpacked(spec.datasets.rows) };
  return { ...spec, config: { ...config, ...spec.config } };
}

/** As many panels in a row as there is room for. */
const columnsOf = (figure, spec) =>
  Math.max(1, Math.min(spec.columns, Math.floor(figure.clientWidth / NARROW)));

function tooltip(value, sanitize) {
  const { title, picture: image, ...pairs } = typeof value === "object" ? value : { title: value };
  const rows = Object.entries(pairs).filter(([, text]) => shown(text));
  const cells = rows.map(([name, text]) => `<tr><td class="key">${sanitize(name.trim())}</td><td class="value">${sanitize(text)}</td></tr>`);
  const picture = image ? `<img src="${sanitize(image)}" alt="">` : "";
  return `${picture}${title ? `<h2>${sanitize(title)}</h2>` : ""}<table>${cells.join("")}</table>`;
}

async function draw(figure) {
  const spec = figure.spec ?? (figure.spec = specOf(figure));
  const columns = columnsOf(figure, spec);
  if (figure.columns === columns) return;
  figure.columns = columns;
  figure.view?.finalize();
  const controls = figure.querySelector(".controls");
  controls.replaceChildren();
  const result = await vegaEmbed(figure.querySelector(".drawing"), { ...spec, columns }, {
    mode: "vega-lite", ast: true, renderer: "svg", bind: controls, tooltip: { formatTooltip: tooltip },
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: figure.id,
  });
  figure.view = result.view;
  const epoch = spec.params.find((param) => param.name === "epoch");
  if (epoch) controls.append(playButton(figure, epoch.bind));
  figure.dataset.drawn = "";
  startNumbers(figure);
}

function playButton(figure, { min, max, step }) {
  const button = make("button", "Play", { type: "button", className: "play" });
  button.addEventListener("click", () => {
    clearInterval(figure.timer);
    if (button.textContent === "Pause") return void (button.textContent = "Play");
    button.textContent = "Pause";
    const { view } = figure;
    if (view.signal("epoch") >= max) view.signal("epoch", min).runAsync();
    figure.timer = setInterval(() => {
      const next = Math.min(Number(view.signal("epoch")) + step, max);
      view.signal("epoch", next).runAsync();
      if (next >= max || figure.view !== view) {
        clearInterval(figure.timer);
        button.textContent = "Play";
      }
    }, STEP_MS);
  });
  return button;
}

/** The numbers of a chart as tables, made when they are opened. */
function startNumbers(figure) {
  const details = figure.querySelector(".numbers");
  const fill = () => {
    if (details.open) details.lastElementChild.replaceChildren(...tablesOf(figure));
  };
  details.ontoggle = fill;
  const { params, usermeta } = figure.spec;
  for (const { name } of params.filter((param) => ["shown", "estimator"].includes(param.name))) {
    figure.view.addSignalListener(name, fill);
  }
  if (params.some((param) => param.name === "shown")) {
    figure.view.addSignalListener("shown", (_, epoch) => {
      figure.querySelector("h3").textContent = usermeta.pattern.replace("{epoch}", epoch);
    });
  }
  fill();
}

function tablesOf({ spec, view }) {
  const { rows } = spec.datasets;
  const { matrices, epochs, table, panel_titles: panels } = spec.usermeta;
  if (matrices) {
    const epoch = epochs.length > 1 ? view.signal("shown") : epochs[0];
    const by = view.signal("estimator");
    return matrices.map(({ title, rows: down, columns: across }, panel) => {
      const { v } = rows.find((row) => row.panel === panel && row.by === by && row.epoch === epoch);
      const cell = (i, j) => orDash(v[i * across.length + j] === null ? "" : v[i * across.length + j] / 1e4);
      return tableOf(`${title}, epoch ${epoch}, ${by} CKA`, ["layer", ...across],
        down.map((layer, i) => [layer, ...across.map((_, j) => cell(i, j))]));
    });
  }
  const names = Object.keys(table);
  return [...new Set(rows.map((row) => row.panel ?? 0))].map((panel) =>
    tableOf(panels[panel] ?? "", Object.values(table), rows
      .filter((row) => (row.panel ?? 0) === panel).map((row) => names.map((name) => orDash(row[name])))));
}

function tableOf(caption, columns, rows) {
  const table = make("table", "");
  table.append(make("caption", caption));
  const head = table.createTHead().insertRow();
  for (const name of columns) head.append(make("th", name, { scope: "col" }));
  const body = table.createTBody();
  for (const [first, ...others] of rows) {
    const row = body.insertRow();
    row.append(make("th", first, { scope: "row" }), ...others.map((text) => make("td", text)));
  }
  return table;
}

const figures = [...document.querySelectorAll("figure.chart")];
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, { rootMargin: "300px" });
for (const figure of figures) near.observe(figure);
const idle = window.requestIdleCallback ?? ((then) => setTimeout(then, 50));
const drawRest = async () => {
  const figure = figures.find(({ columns }) => columns === undefined);
  if (figure) await draw(figure).then(() => idle(drawRest));
  else document.body.dataset.drawn = "";
};
window.addEventListener("load", () => idle(drawRest));
window.addEventListener("resize", () => figures.filter(({ view }) => view).forEach(draw));
