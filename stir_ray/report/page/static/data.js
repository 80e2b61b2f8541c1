"use strict";
/* What the page holds, and how numbers and texts of it are said. */

const page = JSON.parse(document.getElementById("data").textContent);

/** A number of a matrix, which is stored in whole ten-thousandths; null where it is missing. */
const decoded = (whole) => (whole === null ? null : whole / page.scale);

const isKnown = (value) => value !== null && value !== undefined;

/** With a true minus, and never as `−0`. */
function said(value, digits = 4) {
  if (!isKnown(value)) return "missing";
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "−" : "") + text;
}

/** As in the cell of a matrix: `.07`, `−.40`, `1.00`. */
function short(value) {
  return said(value, 2).replace(/^(−?)0\./, "$1.");
}

/** A value with its spread and the number of seeds, in words. */
function withSpread(value, std, seeds) {
  if (!isKnown(value)) return "missing: not computed";
  if (isKnown(std)) return `${said(value)} ± ${said(std)} (standard deviation of ${seeds} seeds)`;
  return seeds ? `${said(value)} (${seeds === 1 ? "one seed" : `${seeds} seeds`})` : said(value);
}

/** Text for Plotly, which takes some tags in texts for formatting: here nothing is a tag. */
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Lines of a hover label. */
const lines = (...texts) => texts.filter(Boolean).map(plain).join("<br>");

/** An element with attributes and children; strings are text and never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A table of texts; the first cell of a row names it. */
function table(caption, columns, rows) {
  const head = element("tr", {}, ...columns.map((one) => element("th", { scope: "col" }, one)));
  const body = rows.map(([name, ...cells]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, String(name)),
      ...cells.map((cell) => element("td", {}, cell)),
    ),
  );
  return element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, head),
    element("tbody", {}, ...body),
  );
}

/** Cell of a table of numbers: value, and its spread if there is one. */
function cell(value, std) {
  const made = element("span", {}, said(value));
  if (isKnown(value) && isKnown(std)) made.append(element("small", {}, ` ± ${said(std)}`));
  return made;
}

/** Fill a `<details>` when it is opened, and again whenever what it shows changes. */
function fillWhenOpen(details, fill) {
  const filled = () => {
    if (details.open) details.querySelector(".scroll").replaceChildren(...fill());
  };
  details.ontoggle = filled;
  filled();
}
