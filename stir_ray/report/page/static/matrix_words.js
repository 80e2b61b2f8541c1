/* What there is to see in a matrix, in words: its key, a sentence, doubts, and its table. */

function showWords(parts, matrix, state) {
  const { kind, model } = matrix;
  parts.word("matrix-name").textContent = `${kind.name}: ${model.name}, epoch ${matrix.epoch}`;
  parts.word("formula").textContent = kind.formula;
  parts.word("meaning").textContent = kind.words;
  parts.word("key").replaceChildren(...keyOf(matrix));
  // While it plays nobody wants each epoch read aloud.
  parts.word("found").setAttribute("aria-live", state.timer ? "off" : "polite");
  parts.word("found").textContent = foundIn(matrix);
  parts.word("thinned").textContent = model.note;
  showDoubt(parts.word("doubt"), matrix);
}

function showDoubt(place, matrix) {
  const layers = [...matrix.doubtful].map((one) => matrix[matrix.kind.doubtfulAxis][one]);
  place.hidden = layers.length === 0;
  place.textContent =
    `Take care: in layers marked with “!” (${layers.join(", ")}) not all inversions converged. ` +
    "What is missing there counts as changed.";
}

function keyOf(matrix) {
  const limit = short(matrix.limit);
  const zero = tone("zero");
  const swatch = (from, to) => `linear-gradient(90deg, ${from}, ${to})`;
  const entries = matrix.kind.hasTriangles
    ? [
        [swatch(zero, tone("compression")), `0 to ${limit}, left of the diagonal: compression, invariances are also in shallower layers`],
        [swatch(zero, tone("expansion")), `0 to ${limit}, right of it: expansion, invariances are also in deeper layers`],
        [swatch(tone("less"), zero), `−${limit} to 0: layer j shares less of them than layer i`],
      ]
    : matrix.kind.isScore
      ? [[swatch(zero, tone("score")), "0 to 1: nothing to full agreement"]]
      : [[`linear-gradient(90deg, ${tone("below")}, ${zero}, ${tone("above")})`, `−${limit} to ${limit}; 0 is no change`]];
  const hasGaps = matrix.mean.some((row) => !row.every(isKnown));
  return [
    ...entries.map(([background, text]) => keyEntry(text, background)),
    ...(hasGaps ? [keyEntry("hatched: missing, not computed")] : []),
  ];
}

function keyEntry(text, background) {
  const swatch = element("span", { class: background ? "swatch" : "swatch hatched" });
  if (background) swatch.style.background = background;
  return element("li", {}, swatch, element("span", {}, text));
}

const SHOWN_AS_ZERO = 0.005;

/** What there is to see, in a sentence. */
function foundIn(matrix) {
  const places = matrix.rows.flatMap((_, r) => matrix.columns.map((_, c) => [r, c]));
  const values = (keep) =>
    places.filter(([r, c]) => isKnown(matrix.mean[r][c]) && keep(r, c)).map(([r, c]) => matrix.mean[r][c]);
  const gaps = places.length - values(() => true).length;
  const missing = gaps ? ` ${gaps} of ${places.length} cells are missing.` : "";
  if (matrix.kind.hasTriangles) {
    const all = values(() => true);
    if (all.length && all.every((one) => Math.abs(one) < SHOWN_AS_ZERO))
      return `No cell is ${SHOWN_AS_ZERO} or more from 0: nothing flows.${missing}`;
    const side = (name) => shareAbove(values((r, c) => sideOf(matrix, r, c) === name));
    return `Compression: ${side("compression")}. Expansion: ${side("expansion")}.${missing}`;
  }
  const own = values((r, c) => matrix.rows[r] === matrix.columns[c]);
  const mean = own.length ? said(average(own), 3) : "missing";
  return `Mean over equal layers (the framed diagonal): ${mean}.${missing}`;
}

const average = (values) => values.reduce((sum, one) => sum + one, 0) / values.length;

function shareAbove(values) {
  if (!values.length) return "no cell";
  const above = values.filter((one) => one > 0).length;
  return `${above} of ${values.length} cells above 0, mean ${said(average(values), 3)}`;
}

function matrixTable(matrix) {
  const caption =
    `${matrix.kind.name} (${matrix.estimator} CKA), ${matrix.model.name}, epoch ${matrix.epoch}. ` +
    `Rows: ${matrix.kind.rowsAre}. Columns: ${matrix.kind.columnsAre}.`;
  const rows = matrix.mean.map((row, r) => [
    matrix.rows[r],
    ...row.map((value, c) => cell(value, matrix.std[r][c])),
  ]);
  return table(caption, ["", ...matrix.columns.map(String)], rows);
}
