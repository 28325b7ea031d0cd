"""What a notebook shows: figures with alt text, tables with captions, sentences with measured numbers.

Outside a notebook the same functions print text, so that a script or a test reads the same story.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agentlab.errors import AgentLabError

# Okabe and Ito's palette: distinct for colour-blind readers. Pair each colour with a marker, never hue alone.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#000000",
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def in_notebook() -> bool:
    """True inside a Jupyter kernel."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


def emit(data: dict[str, str | dict]) -> None:
    """Show one output in several forms; outside a notebook the plain text is printed."""
    if in_notebook():
        from IPython.display import display

        display(data, raw=True)
    else:
        print(data["text/plain"])


def say(markdown: str) -> None:
    """Show a sentence, usually one that carries measured numbers: ``say(f"The floor is {floor:.2f}.")``"""
    emit({"text/markdown": markdown, "text/plain": markdown})


def show_table(table, caption: str) -> None:
    """Show rows as a table: a pandas DataFrame, or a list of dicts with the same keys.

    Raises `AgentLabError` for an empty table or one without caption, since a reader learns nothing from it.
    """
    import pandas as pd

    frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(list(table))
    if frame.empty or not caption.strip():
        raise AgentLabError(
            f"show_table needs at least one row and a caption; got {len(frame)} rows, caption {caption!r}."
        )
    if frame.index.name is not None or not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()

    def cell(value: object) -> str:
        return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

    head = "".join(f'<th scope="col" style="text-align:left">{html.escape(str(c))}</th>' for c in frame.columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{html.escape(cell(v))}</td>' for v in row) + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    title = f'<caption style="text-align:left;caption-side:top"><b>{html.escape(caption)}</b></caption>'
    shown = (
        f'<table style="min-width:min(100%,36em)">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )
    plain = frame.map(cell).to_string(index=False)
    emit({"text/html": shown, "text/plain": f"{caption}\n{plain}"})


def show_figure(figure, alt: str, caption: str = "") -> None:
    """Show a matplotlib figure with alt text and close it.

    ``alt`` says the kind of chart, its axes and what it finds, for those who do not see it.
    Raises `AgentLabError` when it is missing or too short to say that.
    """
    shown = figure_html(figure, alt, caption)
    emit({"text/html": shown, "text/plain": f"[figure] {alt}" + (f"\n{caption}" if caption else "")})


def figure_html(figure, alt: str, caption: str = "") -> str:
    """The HTML of a figure with alt text and caption; closes the figure, and raises as `show_figure` does."""
    import matplotlib.pyplot as plt

    if len(alt.split()) < 8:
        plt.close(figure)
        raise AgentLabError(f"The alt text must say the chart type, the axes and the finding; got {alt!r}.")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    image = base64.b64encode(smaller_png(buffer.getvalue())).decode()
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure style="margin:0"><img alt="{html.escape(alt, quote=True)}" style="max-width:100%"'
        f' src="data:image/png;base64,{image}">{below}</figure>'
    )


def smaller_png(data: bytes) -> bytes:
    """The same picture with a palette of 128 colours: a third of the bytes, and no difference to the eye in a chart."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return min(data, buffer.getvalue(), key=len)


def new_figure(width: float = 7.0, height: float = 3.5, columns: int = 1):
    """A figure and its axes in the course's look; ``columns`` side by side give a list of axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained")
    for ax in [axes] if columns == 1 else axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", alpha=0.3)
        ax.set_axisbelow(True)
    return figure, axes


@contextmanager
def shows_error(*kinds: type[BaseException]) -> Iterator[None]:
    """Expect one of these errors in the block and show its message; anything else is a real failure.

    papermill stops at every error output, so an error that a lesson wants to be seen goes through here.
    """
    kinds = kinds or (AgentLabError,)
    try:
        yield
    except kinds as error:
        said = (
            error.msg.split(" (/")[0] if isinstance(error, ImportError) else error
        )  # it ends in a path of this machine
        message = f"{type(error).__name__}: {said}"
        shown = (
            f'<pre style="border-left:4px solid {COLOURS["vermilion"]};padding-left:8px">{html.escape(message)}</pre>'
        )
        emit({"text/html": shown, "text/plain": message})
    else:
        names = " or ".join(k.__name__ for k in kinds)
        raise AgentLabError(f"This block was expected to raise {names}, and it did not.")


def highlight_spans(text: str, spans: Sequence) -> None:
    """Show a message with its spans underlined and named; ``spans`` have start, end and type."""
    parts, at = [], 0
    for span in sorted(spans, key=lambda s: s.start):
        parts.append(html.escape(text[at : span.start]))
        parts.append(
            f'<mark style="background:none;color:inherit;border-bottom:3px solid {COLOURS["blue"]}">'
            f"{html.escape(text[span.start : span.end])}</mark><sub> {html.escape(span.type)} </sub>"
        )
        at = span.end
    parts.append(html.escape(text[at:]))
    plain = "".join(
        f"\n  {span.type}: {text[span.start : span.end]!r}" for span in sorted(spans, key=lambda s: s.start)
    )
    emit({"text/html": f"<p>{''.join(parts)}</p>", "text/plain": text + plain})


def draw_map(
    boxes: dict[str, tuple[float, float]], arrows: Sequence[tuple[int, int]], alt: str, caption: str = ""
) -> None:
    """A diagram of boxes at (x, y) and arrows between them, given as pairs of box numbers."""
    centres = list(boxes.values())
    wide, high = max(x for x, _ in centres), max(y for _, y in centres)
    figure, ax = new_figure(1.6 * (wide + 1), 1.5 * (high + 1))
    ax.set(xlim=(-0.6, wide + 0.6), ylim=(-0.45, high + 0.45))
    ax.axis("off")
    for start, end in arrows:
        ax.annotate(
            "", centres[end], centres[start],
            arrowprops={"arrowstyle": "-|>", "color": "#555555", "shrinkA": 34, "shrinkB": 36, "lw": 1.3},
        )  # fmt: skip
    for label, (x, y) in boxes.items():
        frame = {"boxstyle": "round,pad=0.45", "facecolor": "#EAF3F9", "edgecolor": COLOURS["blue"]}
        ax.text(x, y, label, ha="center", va="center", fontsize=9, bbox=frame)
    show_figure(figure, alt, caption)


def draw_comparison(theirs, truth) -> None:
    """A learner's numbers against the true ones, element by element: right answers lie on the diagonal."""
    import numpy as np

    yours, true = np.ravel(theirs), np.ravel(truth)
    seen = np.isfinite(yours)
    figure, ax = new_figure(4.2, 3.2)
    low, high = true.min(), true.max()
    ax.plot([low, high], [low, high], color=COLOURS["black"], lw=1, ls="--", label="exact")
    ax.plot(true[seen], yours[seen], MARKERS[0], color=COLOURS["vermilion"], ms=5, alpha=0.7, label="yours")
    ax.set(xlabel="true value", ylabel="yours")
    ax.legend()
    off = np.abs(yours[seen] - true[seen]).max() if seen.any() else float("nan")
    show_figure(
        figure,
        alt=f"Scatter chart of your {yours.size} numbers over the true ones: right numbers lie on the dashed diagonal, the largest "
        f"difference is {off:.3g}; {int((~seen).sum())} of yours are not finite and are left out.",
        caption="Each dot is one number of your answer. On the dashed line it would be exact.",
    )
