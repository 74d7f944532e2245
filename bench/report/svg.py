"""Pictures as SVG that lies within an HTML page: small, with its text as text, and in the colours of the page.

matplotlib draws; what it writes is made smaller and its colours become CSS variables, so that one picture serves light
and dark. Refuses names as they come: they are cleaned first, since a worker or a server chose them.
"""

from __future__ import annotations

import contextlib
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.load.sample import Floats, Ints

SMALL, WIDE = (4.0, 2.9), (10.6, 3.1)
"""Inches: a third of a wide page or a phone's whole width; a wide page's whole width."""
MAX_POINTS = 5000
"""Of one picture: some 40 bytes each."""
MAX_SPOKEN = 1000
MAX_NAME = 40
"""Characters of a name in a picture."""


def _shades(hue: str, colours: str) -> dict[str, str]:
    return {f"{hue}{place}": one for place, one in enumerate(colours.split())}


LIGHT = {
    "page": "#ffffff",
    "card": "#f6f7f9",
    "ink": "#1b1f24",
    "dim": "#59636e",
    "grid": "#d5d9de",
    "bad": "#c1121f",
    "series0": "#0b63b0",
    "series1": "#c2570c",
    "series2": "#117a56",
    "series3": "#8a3fa0",
    "warm": "#a4acb5",
    **_shades("client", "#0b4f8a #2f78bd #74a9dc #b5d2ee"),
    **_shades("gateway", "#0c6b4b #3aa37c #98d3bb"),
    **_shades("tunnel", "#7b3594 #c08fd3"),
    **_shades("worker", "#7a3406 #a94a0c #d2691e #eb934f #f5bd8f #f4d9c0"),
    **_shades("other", "#8a7a16 #b8a735 #d9cd77 #ebe5bb"),
    **_shades("rest", "#8b949e #c4cad1"),
}
"""CSS variable and colour. The parts of a request: hue says where, lightness which part."""
DARK = {
    "page": "#0f1216",
    "card": "#181c22",
    "ink": "#e8eaed",
    "dim": "#a3abb5",
    "grid": "#3a4048",
    "bad": "#ff7b72",
    "series0": "#6cb6ff",
    "series1": "#f69d50",
    "series2": "#57c99a",
    "series3": "#d2a8ff",
    "warm": "#727b86",
}
"""Those that differ in the dark; the parts of a request stay, they have no text on them."""
_STAND_INS = {name: f"#0101{code:02x}" for code, name in enumerate(LIGHT)}
_RC: dict[Any, Any] = {  # Any: matplotlib names each of its settings in the type
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "text.parse_math": False,
    "path.simplify": False,
    "font.size": 9.5,
    "axes.linewidth": 0.8,
    "axes.edgecolor": _STAND_INS["dim"],
    "axes.labelcolor": _STAND_INS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _STAND_INS["ink"],
    "xtick.color": _STAND_INS["dim"],
    "ytick.color": _STAND_INS["dim"],
    "grid.color": _STAND_INS["grid"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
}


def colour(name: str) -> str:
    """What matplotlib is to be given for one of LIGHT."""
    return _STAND_INS[name]


def new_figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """An empty picture with one pair of axes. To be used and given to `to_svg` within `style`."""
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    return figure, axes


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The context in which pictures are made and written."""
    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        # a name in a script that the font has not is measured as boxes here and drawn by the reader's own font
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def clean(text: str, length: int = MAX_NAME) -> str:
    """A name that can be shown: no control, format or surrogate characters, and not longer than `length`."""
    shown = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(one)[0] == "C" else one for one in text)
    return shown if len(shown) <= length else shown[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def thin(x: Floats, y: Floats, most: int = MAX_POINTS) -> Ints:
    """Places of the points that a picture needs: the picture is cut into cells, and of the points in one cell one is
    kept, drawn with a fixed seed. A point by itself, such as the slowest request, always stays. Cells grow until at
    most `most` are kept."""
    if len(x) <= most:
        return np.arange(len(x))
    across, up = 800, 400
    shuffled = np.random.default_rng(0).permutation(len(x))
    while True:
        cells = _bins(x, across) * up + _bins(y, up)
        kept = np.unique(cells[shuffled], return_index=True)[1]
        if len(kept) <= most:
            return np.sort(shuffled[kept])
        across, up = max(1, int(across * 0.8)), max(1, int(up * 0.8))


def _bins(values: Floats, number: int) -> Ints:
    low, high = float(values.min()), float(values.max())
    scale = number / (high - low) if high > low else 0.0
    return np.minimum(number - 1, ((values - low) * scale).astype(np.int64))


def draw_points(axes: Axes, x: Floats, y: Floats, name: str, width: float = 2.2) -> None:
    """Round points as one path: a tenth of the size of as many markers."""
    if not len(x):
        return
    corners = np.repeat(np.column_stack([x, y]), 2, axis=0)
    codes = np.tile(np.array([Outline.MOVETO, Outline.LINETO], Outline.code_type), len(x))
    points = PathPatch(
        Outline(corners, codes), facecolor="none", edgecolor=colour(name), linewidth=width, capstyle="round", alpha=0.75
    )
    axes.add_patch(points)


def is_spread(values: Floats) -> bool:
    """Whether a logarithmic axis shows them better."""
    return bool(len(values) and values.min() > 0 and values.max() > 8 * np.median(values))


def scale_ms(axes: Axes, values: Floats, which: str, *, logarithmic: bool) -> None:
    """Limits and ticks of an axis in milliseconds, as plain numbers. `which`: x or y."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    set_scale, set_limits = getattr(axes, f"set_{which}scale"), getattr(axes, f"set_{which}lim")
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if logarithmic:
        set_scale("log")
        low, high = low / 1.3, high * 1.3
        set_limits(low, high)
        axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        set_limits(max(0.0, low - margin) if low >= 0 else low - margin, high + margin)
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:.6g}"))


def to_svg(figure: Figure, prefix: str, title: str, description: str) -> str:
    """The picture as an element for HTML. `prefix`: unique within the page; title and description are for those who do
    not see it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314  our own
    used = set(re.findall(r"#([\w.-]+)", " ".join(_references(root))))
    for element in root.iter():
        _simplify(element, prefix, used)
    for child in [one for one in root if one.tag in ("metadata", "defs") and not _has_ids(one)]:
        root.remove(child)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{prefix}-t {prefix}-d",
        "class": "wide" if figure.get_figwidth() > SMALL[0] else "small",
    }
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        spoken = ElementTree.Element(tag, id=f"{prefix}-{tag[0]}")
        spoken.text = clean(text, MAX_SPOKEN)
        root.insert(place, spoken)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _references(root: ElementTree.Element) -> Sequence[str]:
    return [value for element in root.iter() for key, value in element.attrib.items() if not key.endswith("style")]


def _simplify(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """No namespaces, no names that nothing refers to, two digits after the point, variables for colours."""
    element.tag = element.tag.rpartition("}")[2]
    element.tail = None
    if element.text is not None and not element.text.strip():
        element.text = None
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    if attributes.get("id") not in used:
        attributes.pop("id", None)
    for key, value in attributes.items():
        if key == "id":
            value = f"{prefix}-{value}"
        elif key == "style":
            value = _themed(value)
        else:
            value = re.sub(r"(^|url\()#", rf"\1#{prefix}-", value)
        if key in ("d", "x", "y", "transform", "style", "width", "height"):
            value = re.sub(r"(\.\d\d)\d+", r"\1", value).replace("\n", "")
        attributes[key] = value
    element.attrib = attributes


def _themed(text: str) -> str:
    text = re.sub(r"font-family: [^;]*;? ?", "", text)
    for name, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, f"var(--{name})")
    return text


def _has_ids(element: ElementTree.Element) -> bool:
    return any("id" in one.attrib for one in element.iter())
