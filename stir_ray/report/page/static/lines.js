/* Plots of lines: over layers, over epochs, and points of one quantity against another. */

const PRINTED_WIDTH = 690;
const FEW_LINES = 4;
const MANY_POINTS = 24;
const DASHES = { solid: "", dash: "6 3", dot: "2 3" };

/** Make a figure of the page live: its choice, panels, legend, note and table. */
function startPlot(figure) {
  const plot = page.plots[figure.dataset.plot];
  const choice = figure.querySelector("select");
  const show = () => showVariant(figure, plot, plot.variants[choice ? choice.selectedIndex : 0]);
  choice?.addEventListener("change", show);
  redraws.push(show);
  show();
}

function showVariant(figure, plot, variant) {
  const places = panelPlaces(figure.querySelector(".panels"), variant.panels);
  const range = sharedRange(variant.panels);
  variant.panels.forEach((panel, n) => {
    const width = isPrinting() ? PRINTED_WIDTH / Math.max(1.5, Math.min(variant.panels.length, 3)) - 14 : undefined;
    drawn(places[n], tracesOf(panel), panelLayout(panel, range[n], width));
  });
  showLegend(figure.querySelector(".legend"), variant.panels);
  figure.querySelector("figcaption").textContent = variant.note;
  fillWhenOpen(figure.querySelector("details"), () =>
    variant.panels.map((panel) => panelTable(plot, panel)),
  );
}

/** An element per panel, kept from one drawing to the next. */
function panelPlaces(box, panels) {
  box.style.setProperty("--columns", Math.min(panels.length, 3));
  box.classList.toggle("single", panels.length === 1);
  while (box.children.length < panels.length) {
    const title = element("p", { class: "panel-title" });
    box.append(element("div", { class: "panel" }, title, element("div", { class: "axes" })));
  }
  while (box.children.length > panels.length) box.lastChild.remove();
  return [...box.children].map((child, n) => {
    child.firstChild.textContent = panels[n].title;
    child.lastChild.setAttribute("role", "img");
    child.lastChild.setAttribute("aria-label", `${panels[n].title}: ${panels[n].y} by ${panels[n].x}`);
    return child.lastChild;
  });
}

/** Ends of the y axis of each panel: the same for all of one quantity, so that they compare. */
function sharedRange(panels) {
  const byQuantity = new Map();
  for (const panel of panels) {
    const values = byQuantity.get(panel.y) ?? [];
    values.push(...panel.lines.flatMap(extent), ...panel.rules.map((rule) => rule.y));
    values.push(...[panel.lowest, panel.highest].filter(isKnown));
    byQuantity.set(panel.y, values);
  }
  return panels.map((panel) => padded(byQuantity.get(panel.y), isNumbered(panel) ? 0.14 : 0.07));
}

function extent(line) {
  const spread = line.y.map((y, n) => (isKnown(y) && isKnown(line.std[n]) ? line.std[n] : 0));
  const ends = line.y.flatMap((y, n) => (isKnown(y) ? [y - spread[n], y + spread[n]] : []));
  return [...ends, ...line.low.filter(isKnown), ...line.high.filter(isKnown)];
}

function padded(values, share) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = Math.max((high - low) * share, 1e-4);
  return values.length ? [low - room, high + room] : [0, 1];
}

function tracesOf(panel) {
  return panel.lines.flatMap((line) => {
    const band = bandOf(line);
    return [
      ...(band ? [band] : []),
      ...(line.doubtful.some(Boolean) ? [ringsOf(panel, line)] : []),
      mainTrace(panel, line),
    ];
  });
}

function mainTrace(panel, line) {
  const colour = onGround(line.colour);
  return {
    type: "scatter",
    mode: panel.is_scatter ? (isNumbered(panel) ? "markers+text" : "markers") : "lines+markers",
    text: isNumbered(panel) ? panel.labels.map((label) => plain(label.split(" ").at(-1))) : undefined,
    textposition: "top center",
    textfont: { size: 11, color: tone("soft") },
    name: plain(line.name),
    x: line.x,
    y: line.y,
    line: { color: colour, width: 2, dash: line.dash },
    marker: { color: colour, size: panel.is_scatter ? 8 : 6.5, symbol: line.symbol,
              maxdisplayed: panel.is_scatter ? 0 : 12 },
    hovertext: line.x.map((x, n) => hoverText(panel, line, n)),
    hoverinfo: "text",
  };
}

/** Whether points have room for their numbers. */
const isNumbered = (panel) => panel.is_scatter && panel.lines.length === 1;

function hoverText(panel, line, n) {
  const doubt = line.doubtful[n] ? "rests on inversions that did not converge" : "";
  if (panel.is_scatter) {
    const place = `${panel.x} ${said(line.x[n])}, ${panel.y} ${said(line.y[n])}`;
    return lines(panel.labels[n], line.name, place, doubt);
  }
  const seeds = Array.isArray(line.seeds) ? line.seeds[n] : line.seeds;
  const band = isKnown(line.low[n]) ? `${said(line.low[n])} to ${said(line.high[n])}` : "";
  const where = `${panel.x.split(" (")[0]} ${line.x[n]}`;
  return lines(line.name, where, withSpread(line.y[n], line.std[n], seeds), band, doubt);
}

/** A band round a line, in pieces where points are missing. */
function bandOf(line) {
  const [low, high] = bandEdges(line);
  const pieces = [];
  let piece = [];
  line.x.forEach((x, n) => {
    if (isKnown(low[n]) && isKnown(high[n])) piece.push(n);
    else if (piece.length) pieces.push(piece.splice(0));
  });
  if (piece.length) pieces.push(piece);
  if (!pieces.length) return null;
  const around = (there, back) =>
    pieces.flatMap((one) => [...one.map(there), ...one.slice().reverse().map(back), null]);
  return {
    type: "scatter",
    mode: "lines",
    x: around((n) => line.x[n], (n) => line.x[n]),
    y: around((n) => high[n], (n) => low[n]),
    fill: "toself",
    fillcolor: faint(onGround(line.colour)),
    line: { width: 0 },
    hoverinfo: "skip",
  };
}

function bandEdges(line) {
  if (line.low.length) return [line.low, line.high];
  const edge = (sign) =>
    line.y.map((y, n) => (isKnown(y) && isKnown(line.std[n]) ? y + sign * line.std[n] : null));
  return [edge(-1), edge(1)];
}

const faint = (hex) => `${hex}2b`;

/** Rings round points that rest on inversions that did not converge: thin ones of many lines. */
function ringsOf(panel, line) {
  const ringed = line.x.map((_, n) => n).filter((n) => line.doubtful[n] && isKnown(line.y[n]));
  const isCrowded = panel.lines.length > FEW_LINES || line.x.length > MANY_POINTS;
  return {
    type: "scatter",
    mode: "markers",
    x: ringed.map((n) => line.x[n]),
    y: ringed.map((n) => line.y[n]),
    marker: { symbol: "circle-open", size: isCrowded ? 9 : 13, color: tone("warn"),
              line: { width: isCrowded ? 0.8 : 1.5 } },
    hoverinfo: "skip",
  };
}

function panelLayout(panel, range, width) {
  const places = panel.is_scatter ? [] : [...new Set(panel.lines.flatMap((line) => line.x))];
  const room = 0.03 * (Math.max(...places) - Math.min(...places)) || 0.5;
  const ends = places.length ? [Math.min(...places) - room, Math.max(...places) + room] : undefined;
  return {
    height: 270,
    width,
    autosize: !width,
    xaxis: { ...axis(panel.x), showgrid: panel.is_scatter, range: ends, nticks: 12,
             ...ticksOf(places) },
    yaxis: { ...axis(panel.y), range, nticks: 6 },
    shapes: panel.rules.map(ruleShape),
    annotations: panel.rules.filter((rule) => rule.text).map(ruleText),
  };
}

/** Ticks at layers or epochs that there are, where these are few. */
function ticksOf(places) {
  if (!places.length || !places.every(Number.isInteger)) return {};
  return places.length <= 13 ? { tickmode: "array", tickvals: places } : { tickformat: "d" };
}

function ruleShape(rule) {
  return {
    type: "line", xref: "paper", x0: 0, x1: 1, y0: rule.y, y1: rule.y, layer: "below",
    line: { color: tone("soft"), width: 1, dash: rule.text ? "dot" : "solid" },
  };
}

function ruleText(rule) {
  return {
    text: plain(rule.text), xref: "paper", x: 0.01, xanchor: "left", y: rule.y, yanchor: "top",
    showarrow: false, font: { size: 11, color: tone("soft") },
  };
}

/** One entry per name: lines of equal names look equal in all panels. */
function showLegend(list, panels) {
  const named = new Map();
  for (const line of panels.flatMap((panel) => panel.lines)) {
    const look = `${line.name}\n${line.dash}\n${line.symbol}`;
    if (!named.has(look)) named.set(look, { line, isScatter: panels[0].is_scatter });
  }
  const entries = [...named.values()].map(({ line, isScatter }) =>
    element("li", {}, sample(line, isScatter), line.name),
  );
  if (panels.some((panel) => panel.lines.some((line) => line.doubtful.some(Boolean)))) {
    entries.push(element("li", {}, ring(), "ringed: rests on inversions that did not converge"));
  }
  list.replaceChildren(...entries);
}

const SVG = "http://www.w3.org/2000/svg";

function drawing(width, ...shapes) {
  const made = document.createElementNS(SVG, "svg");
  Object.entries({ width, height: 12, "aria-hidden": "true" }).forEach(([k, v]) =>
    made.setAttribute(k, v),
  );
  for (const [name, attributes] of shapes) {
    const shape = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([k, v]) => shape.setAttribute(k, v));
    made.append(shape);
  }
  return made;
}

const MARKS = {
  circle: "M14 2.5a3.5 3.5 0 1 0 .01 0z",
  square: "M11 3h6v6h-6z",
  diamond: "M14 1.5l4.5 4.5-4.5 4.5-4.5-4.5z",
  "diamond-open": "M14 1.5l4.5 4.5-4.5 4.5-4.5-4.5z",
  "triangle-up": "M14 2l4 7h-8z",
  "triangle-down": "M14 10l4-7h-8z",
  cross: "M12.7 2h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
  x: "M11 3l6 6M17 3l-6 6",
};

/** What a line looks like, for the legend. */
function sample(line, isScatter) {
  const colour = onGround(line.colour);
  const isOpen = line.symbol.endsWith("-open") || line.symbol === "x";
  const stroke = { stroke: colour, "stroke-width": 2, "stroke-dasharray": DASHES[line.dash] };
  const rule = ["path", { d: "M0 6h28", ...stroke }];
  const fill = isOpen ? tone("ground") : colour;
  const mark = ["path", { d: MARKS[line.symbol], fill, stroke: colour, "stroke-width": 1.3 }];
  return drawing(28, ...(isScatter ? [] : [rule]), mark);
}

const ring = () =>
  drawing(28, ["circle", { cx: 14, cy: 6, r: 5, fill: "none", stroke: tone("warn"), "stroke-width": 2 }]);

const DOUBT = " (!: rests on inversions that did not converge)";

function panelTable(plot, panel) {
  const places = [...new Set(panel.lines.flatMap((line) => line.x))];
  const named = panel.lines.map((line) => line.name);
  const doubt = panel.lines.some((line) => line.doubtful.some(Boolean)) ? DOUBT : "";
  const caption = [plot.title, panel.title].filter(Boolean).join(": ") + doubt;
  if (panel.is_scatter) return scatterTable(caption, panel);
  const rows = places.map((x) => [
    x,
    ...panel.lines.map((line) => {
      const n = line.x.indexOf(x);
      if (n < 0) return "";
      const band = isKnown(line.low[n]) ? ` (${said(line.low[n])} to ${said(line.high[n])})` : "";
      const mark = line.doubtful[n] ? " !" : "";
      return element("span", {}, cell(line.y[n], line.std[n]), band + mark);
    }),
  ]);
  return table(caption, [panel.x, ...named], rows);
}

function scatterTable(caption, panel) {
  const rows = panel.labels.map((label, n) => [
    label,
    said(panel.lines[0].x[n]),
    ...panel.lines.map((line) => said(line.y[n])),
  ]);
  const named = panel.lines.map((line) => `${panel.y}, ${line.name}`);
  return table(caption, ["", panel.x, ...named], rows);
}
