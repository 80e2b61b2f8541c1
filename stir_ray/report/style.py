"""How every figure looks: its sizes, fonts and colours, in one place.

Figures are made without pyplot, so no window, global figure or backend is touched. Matplotlib reads
its rc settings from one global place nonetheless, so `drawing` puts ours there for as long as a
figure is made or saved, one thread at a time.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from textwrap import fill
from typing import Any, ClassVar, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLUMN, PAGE = 3.35, 6.9
"""Widths in inches of one column and of a page with two, as in most proceedings."""

_COMPARED: ContextVar[bool] = ContextVar("_COMPARED", default=False)


class _ModelNames(Mapping[str, str]):
    """What models are called. Tables and keys keep to `finetuned`, whatever is said here."""

    _names: ClassVar = {
        "pretrained": "pretrained",
        "finetuned": "finetuned",
        "from_scratch": "from scratch",
    }

    def __getitem__(self, model: str) -> str:
        return "compared" if model == "finetuned" and _COMPARED.get() else self._names[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


MODEL_NAMES = _ModelNames()


@contextmanager
def naming(*, is_finetuned: bool) -> Iterator[None]:
    """While inside, the second model of a job is `finetuned`, or only what is compared."""
    token = _COMPARED.set(not is_finetuned)
    try:
        yield
    finally:
        _COMPARED.reset(token)


def formula(text: str) -> str:
    """A formula in which `ft` stands for the second model, which is `cp` where that is compared."""
    return text.replace("ft", "cp") if _COMPARED.get() else text


# Okabe and Ito's palette, which the colour-blind tell apart.
MODEL_COLOURS = {"pretrained": "#333333", "finetuned": "#0072B2", "from_scratch": "#D55E00"}
MODEL_MARKERS = {"pretrained": "s", "finetuned": "o", "from_scratch": "^"}
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of lines that are not models."""
BAND_ALPHA = 0.2
_FEW_EPOCHS = 20
"""Up to so many are marked so that one sees it at a glance."""
MISSING = {"facecolor": "#DDDDDD", "edgecolor": "#999999", "hatch": "/////", "linewidth": 0.0}
REFERENCE_LINE = {"color": "#777777", "linewidth": 0.7}

_RC: dict[Any, Any] = {
    # It comes with matplotlib, so that a figure is the same on every machine.
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 7.0,
    "figure.titlesize": 8.5,
    "figure.titleweight": "bold",
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    # Text as outlines: it looks the same in every viewer and in print.
    "svg.fonttype": "path",
    # Without a salt matplotlib draws the ids in an SVG at random.
    "svg.hashsalt": "stir_ray",
}
_turn = threading.RLock()
_Arguments = ParamSpec("_Arguments")


@contextmanager
def drawing() -> Iterator[None]:
    """While inside, matplotlib has our settings and no other thread of ours draws."""
    with _turn, mpl.rc_context(_RC):
        yield


def paper(maker: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Let a function that makes a figure make it with our settings."""

    @wraps(maker)
    def styled(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with drawing():
            return maker(*args, **kwargs)

    return styled


def model_at(model: str, epoch: int) -> str:
    """A compared model in a legend or title."""
    return f"{MODEL_NAMES[model]}, epoch {epoch}"


def model_line(model: str) -> dict[str, Any]:
    """How the line of a model looks in every figure."""
    return {"color": MODEL_COLOURS[model], "marker": MODEL_MARKERS[model]}


def epoch_marks(count: int) -> dict[str, Any]:
    """Marks of the measured epochs on a line, however many: between them nothing is known."""
    if count <= _FEW_EPOCHS:
        return {"marker": "o", "markersize": 2}
    # On a line as thick as elsewhere so small a mark would not be seen.
    return {"marker": ".", "markersize": 1.5, "linewidth": 0.7}


def layer_colours(count: int) -> ListedColormap:
    """One colour per layer from shallow (dark) to deep (light), none too pale for white paper."""
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.9, count))
    return ListedColormap([tuple(shade) for shade in shades])


def severity_colours() -> list[Any]:
    """Of clean images, black, and of severities 1 to 5, from light to dark red."""
    shades = mpl.colormaps["YlOrRd"](np.linspace(0.35, 1.0, 5))
    return ["#000000", *(tuple(shade) for shade in shades)]


def signed_colours(limit: float) -> tuple[Colormap, Normalize]:
    """Blue below 0, white at 0, red above, the same distance to both ends."""
    return mpl.colormaps["RdBu_r"], Normalize(-limit, limit)


def title(figure: Figure, text: str) -> None:
    """The figure's title, broken into lines that fit its width."""
    letters_per_inch = 14
    figure.suptitle(fill(text, int(letters_per_inch * figure.get_figwidth())))


def by_layer(axes: Axes, layers: Sequence[int], *, name: str = "layer") -> None:
    """Make the x axis one of layers, with ticks where there are layers and nowhere else."""
    shown = thinned(layers, most=12)
    axes.set_xticks(shown, [str(layer) for layer in shown])
    axes.set_xlabel(f"{name} (transformer block)")
    margin = max(0.5, 0.04 * (layers[-1] - layers[0]))
    axes.set_xlim(layers[0] - margin, layers[-1] + margin)


def by_epoch(axes: Axes, epochs: Sequence[int]) -> None:
    """Make the x axis one of epochs, with whole numbers as ticks."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.set_xlabel("epoch")
    if len(epochs) > 1:
        margin = 0.03 * (epochs[-1] - epochs[0])
        axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    else:
        # Around a single one matplotlib would find fractions of epochs.
        axes.set_xticks(epochs)


def thinned(layers: Sequence[int], *, most: int) -> list[int]:
    """All of them, or every second, third, … so that no more than `most` are left."""
    step = max(1, -(-len(layers) // most))
    return [int(layer) for layer in layers[::step]]


def zero_line(axes: Axes) -> None:
    """Mark 0, where the sign of what is shown matters."""
    axes.axhline(0.0, zorder=1.5, **REFERENCE_LINE)


def published_line(place: int) -> dict[str, Any]:
    """How the line of a number that somebody else published looks: dashed and grey to black."""
    shades, markers = ("#000000", "#777777", "#B07A00", "#7A4FA3"), ("x", "+", "1", "2")
    return {
        "color": shades[place % len(shades)],
        "marker": markers[place % len(markers)],
        "linestyle": (0, (4, 2)),
        "linewidth": 1.0,
    }


def legend_below(figure: Figure, panels: Iterable[Axes], *, note: str, ncols: int = 4) -> None:
    """One legend for all panels, with a note, under the figure where it hides nothing."""
    named = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    legend_of(figure, list(named.values()), list(named), note=note, ncols=ncols)


def legend_of(
    figure: Figure, handles: Sequence[Any], labels: Sequence[str], *, note: str, ncols: int = 4
) -> None:
    """The same of given handles."""
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=ncols,
        title=_broken(note, figure),
        alignment="center",
    )


def note_below(figure: Figure, note: str) -> None:
    """A note under a figure without a legend."""
    figure.supxlabel(_broken(note, figure), size=_RC["legend.fontsize"])


def _broken(note: str, figure: Figure) -> str:
    letters_per_inch = 18
    return fill(note, int(letters_per_inch * figure.get_figwidth()))
