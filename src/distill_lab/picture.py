"""A figure as a PNG, drawn once however often it is asked for.

Drawing is what costs most in a short run. `Figure.savefig` draws everything twice, the first time
for the layout alone, and a figure is wanted in two places: beside its run and in the report.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 160  # sharp on screens with two device pixels per CSS pixel
_DRAWN: WeakKeyDictionary[Figure, bytes] = WeakKeyDictionary()


def png(figure: Figure) -> bytes:
    """Return a finished figure as a PNG; what is added to it later is not seen."""
    if figure not in _DRAWN:
        _DRAWN[figure] = _draw(figure)
    return _DRAWN[figure]


def _draw(figure: Figure) -> bytes:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    pixels.save(buffer, "png", dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return buffer.getvalue()
