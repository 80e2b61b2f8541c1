/* One matrix at one epoch: chosen by lists, moved by a slider, played by a button. */

const STEP_MS = 450;
const SIDES = {
  compression: "compression: also in a shallower layer",
  expansion: "expansion: also in a deeper layer",
};

/** Make the figure of matrices live. */
function startMatrix(figure) {
  const parts = partsOf(figure);
  const state = { model: 0, kind: 0, estimator: 0, epoch: 0, timer: null };
  const show = () => showMatrix(parts, state);
  fillChoices(parts, state, show);
  parts.slider.addEventListener("input", () => {
    state.epoch = Number(parts.slider.value);
    show();
  });
  parts.play.addEventListener("click", () => togglePlay(parts, state, show));
  redraws.push(show);
  window.addEventListener("beforeprint", () => atLastEpoch(parts, state, show));
  window.addEventListener("resize", show);
}

function partsOf(figure) {
  const find = (selector) => figure.querySelector(selector);
  return {
    figure,
    model: find("[name=model]"),
    kind: find("[name=kind]"),
    estimator: find("[name=estimator]"),
    slider: find("#epoch"),
    output: find("output"),
    play: find(".play"),
    plot: find(".matrix-plot"),
    details: find("details"),
    word: (name) => find(`.${name}`),
  };
}

function fillChoices(parts, state, show) {
  const models = page.matrices.models;
  fill(parts.model, models.map((one) => one.name), state.model);
  parts.model.closest(".control").hidden = models.length < 2;
  const onModel = () => {
    state.model = parts.model.selectedIndex;
    const model = models[state.model];
    fill(parts.kind, model.kinds.map((one) => one.name), state.kind);
    fill(parts.estimator, Object.keys(model.kinds[0].byEstimator), state.estimator);
    state.epoch = model.epochs.length - 1;
    parts.slider.max = state.epoch;
    parts.figure.querySelector(".scrub").hidden = model.epochs.length < 2;
    stop(parts, state);
    show();
  };
  parts.model.addEventListener("change", onModel);
  for (const name of ["kind", "estimator"]) {
    parts[name].addEventListener("change", () => {
      state[name] = parts[name].selectedIndex;
      show();
    });
  }
  onModel();
}

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => element("option", {}, name)));
  select.selectedIndex = chosen;
}

function togglePlay(parts, state, show) {
  if (state.timer) return stop(parts, state);
  const last = Number(parts.slider.max);
  if (state.epoch === last) state.epoch = 0;
  parts.play.textContent = "Pause";
  state.timer = setInterval(() => {
    if (state.epoch >= last) return stop(parts, state);
    state.epoch += 1;
    show();
  }, STEP_MS);
  show();
}

function stop(parts, state) {
  clearInterval(state.timer);
  state.timer = null;
  parts.play.textContent = "Play";
}

/** On paper there is one epoch: the last. */
function atLastEpoch(parts, state, show) {
  stop(parts, state);
  const shown = state.epoch;
  state.epoch = Number(parts.slider.max);
  show();
  window.addEventListener("afterprint", () => {
    state.epoch = shown;
    show();
  }, { once: true });
}

/** The chosen matrix with its numbers decoded. */
function chosenMatrix(state) {
  const model = page.matrices.models[state.model];
  const kind = model.kinds[state.kind];
  const [estimator, values] = Object.entries(kind.byEstimator)[state.estimator];
  const seeds = Array.isArray(values.seeds) ? values.seeds[state.epoch] : values.seeds;
  return {
    model,
    kind,
    estimator,
    epoch: model.epochs[state.epoch],
    rows: kind.rows,
    columns: kind.columns,
    limit: values.limit,
    mean: values.mean[state.epoch].map((row) => row.map(decoded)),
    std: values.std[state.epoch].map((row) => row.map(decoded)),
    seeds: (row, column) => (Array.isArray(seeds) ? seeds[row][column] : seeds),
    doubtful: new Set(kind.doubtful[state.epoch] ?? []),
  };
}

function showMatrix(parts, state) {
  const matrix = chosenMatrix(state);
  parts.slider.value = state.epoch;
  parts.slider.setAttribute("aria-valuetext", `epoch ${matrix.epoch}`);
  parts.output.textContent = `${matrix.epoch} of ${matrix.model.epochs.at(-1)}`;
  drawn(parts.plot, matrixTraces(matrix), matrixLayout(matrix, parts.plot));
  showWords(parts, matrix, state);
  fillWhenOpen(parts.details, () => [matrixTable(matrix)]);
}

/** Which side of the diagonal a cell lies on, where the sides mean different things. */
function sideOf(matrix, row, column) {
  if (!matrix.kind.hasTriangles) return "";
  const apart = matrix.columns[column] - matrix.rows[row];
  return apart < 0 ? "compression" : apart > 0 ? "expansion" : "";
}

function matrixTraces(matrix) {
  const of = (keep) =>
    matrix.mean.map((row, r) => row.map((value, c) => (keep(value, r, c) ? value : null)));
  const known = (side) => (value, r, c) => isKnown(value) && side === sideOf(matrix, r, c);
  const missing = matrix.mean.map((row) => row.map((value) => (isKnown(value) ? null : 0)));
  const shown = matrix.kind.hasTriangles
    ? [
        heat(matrix, of(known("")), scaleOf("less", "zero", "expansion")),
        heat(matrix, of(known("compression")), scaleOf("less", "zero", "compression")),
        heat(matrix, of(known("expansion")), scaleOf("less", "zero", "expansion")),
      ]
    : [heat(matrix, of(isKnown), matrix.kind.isScore ? scoreScale() : scaleOf("below", "zero", "above"))];
  return [...shown, heat(matrix, missing, [[0, tone("ground")], [1, tone("ground")]], false)];
}

const scaleOf = (low, middle, high) => [[0, tone(low)], [0.5, tone(middle)], [1, tone(high)]];
const scoreScale = () => [[0, tone("zero")], [1, tone("score")]];

function heat(matrix, z, colorscale, hasText = true) {
  return {
    type: "heatmap",
    z,
    colorscale,
    showscale: false,
    zmin: matrix.kind.isScore ? 0 : -matrix.limit,
    zmax: matrix.kind.isScore ? 1 : matrix.limit,
    xgap: 1,
    ygap: 1,
    hoverongaps: false,
    hoverinfo: "text",
    hovertext: z.map((row, r) => row.map((_, c) => cellText(matrix, r, c))),
    ...(hasText ? cellNumbers(matrix, z) : {}),
  };
}

/** Numbers in the cells, where somebody could read them. */
function cellNumbers(matrix, z) {
  const most = Math.max(matrix.rows.length, matrix.columns.length);
  if (most > 14) return {};
  const text = z.map((row) => row.map((value) => (isKnown(value) ? short(value) : "")));
  return { text, texttemplate: "%{text}", textfont: { size: most > 9 ? 9 : 11 } };
}

function cellText(matrix, row, column) {
  const value = matrix.mean[row][column];
  const side = sideOf(matrix, row, column);
  const layer = matrix.kind.doubtfulAxis === "rows" ? row : column;
  const isDoubtful = matrix.kind.doubtfulAxis && matrix.doubtful.has(layer);
  return lines(
    `${matrix.kind.name}, epoch ${matrix.epoch}`,
    `${matrix.kind.rowsAre}: ${matrix.rows[row]}`,
    `${matrix.kind.columnsAre}: ${matrix.columns[column]}`,
    withSpread(value, matrix.std[row][column], matrix.seeds(row, column)),
    side && value > 0 ? SIDES[side] : "",
    isDoubtful ? "rests on inversions that did not converge" : "",
  );
}

function matrixLayout(matrix, place) {
  const room = isPrinting() ? 400 : place.clientWidth || 400;
  const cellSide = Math.min(46, (room - 60) / matrix.columns.length);
  const size = (count) => Math.round(cellSide * count) + 64;
  return {
    width: Math.min(room, size(matrix.columns.length)),
    height: size(matrix.rows.length),
    autosize: false,
    xaxis: { ...axis(matrix.kind.columnsAre), ...numbered(matrix, "columns"), constrain: "domain" },
    yaxis: { ...axis(matrix.kind.rowsAre), ...numbered(matrix, "rows"), autorange: "reversed" },
    shapes: [...diagonal(matrix), ...hatching(matrix)],
  };
}

/** Layers as ticks; those whose inversions did not converge have an exclamation mark. */
function numbered(matrix, name) {
  const layers = matrix[name];
  const step = Math.ceil(layers.length / 14);
  const places = layers.map((_, place) => place).filter((place) => place % step === 0);
  const isDoubtful = (place) => matrix.kind.doubtfulAxis === name && matrix.doubtful.has(place);
  return {
    showgrid: false,
    tickmode: "array",
    tickvals: places,
    ticktext: places.map((place) => `${layers[place]}${isDoubtful(place) ? "!" : ""}`),
    ticks: "",
  };
}

/** Frames round the cells of equal layers. */
function diagonal(matrix) {
  return matrix.rows.flatMap((layer, row) => {
    const column = matrix.columns.indexOf(layer);
    return column < 0 ? [] : [frame(row, column)];
  });
}

function frame(row, column) {
  return {
    type: "rect", x0: column - 0.5, x1: column + 0.5, y0: row - 0.5, y1: row + 0.5,
    line: { color: tone("soft"), width: 1 },
  };
}

/** Strokes through the cells that are missing. */
function hatching(matrix) {
  const strokes = matrix.mean.flatMap((row, r) =>
    row.flatMap((value, c) => (isKnown(value) ? [] : [strokesIn(r, c)])),
  );
  if (!strokes.length) return [];
  return [{ type: "path", path: strokes.join(""), line: { color: tone("soft"), width: 0.8 } }];
}

function strokesIn(row, column) {
  const [left, right, top, bottom] = [column - 0.5, column + 0.5, row - 0.5, row + 0.5];
  return `M${left},${row}L${column},${top}M${left},${bottom}L${right},${top}M${column},${bottom}L${right},${row}`;
}
