/* How every figure looks: its colours are those of the style sheet, on light and on dark ground. */

const redraws = [];
const isPrinting = () => "printing" in document.documentElement.dataset;

/** A colour of the style sheet by its name. */
function tone(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Of a pair of colours the one for the ground that it is drawn on. */
const onGround = ([light, dark]) => (tone("is-dark") === "1" ? dark : light);

/** What all axes have in common. */
function axis(title) {
  return {
    title: { text: plain(title), font: { size: 12, color: tone("soft") }, standoff: 8 },
    tickfont: { size: 11, color: tone("soft") },
    exponentformat: "power",
    gridcolor: tone("grid"),
    linecolor: tone("line"),
    zeroline: false,
    fixedrange: true,
    automargin: true,
  };
}

/** What all figures have in common. */
function layoutOf(more) {
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: tone("ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 12, t: 10, b: 8 },
    showlegend: false,
    dragmode: false,
    hovermode: "closest",
    hoverlabel: {
      bgcolor: tone("raised"),
      bordercolor: tone("line"),
      font: { color: tone("ink"), size: 12 },
      align: "left",
    },
    ...more,
  };
}

/** Draw or draw anew; nothing but the figure itself reacts to a mouse. */
function drawn(place, traces, layout) {
  return Plotly.react(place, traces, layoutOf(layout), {
    displayModeBar: false,
    responsive: true,
    doubleClick: false,
    showTips: false,
  });
}

const drawAll = () => redraws.forEach((redraw) => redraw());

/** Follow the ground as it changes: dark or light on a screen, always light on paper. */
function followGround() {
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => {
    document.documentElement.dataset.printing = "";
    drawAll();
  });
  window.addEventListener("afterprint", () => {
    delete document.documentElement.dataset.printing;
    drawAll();
  });
}
