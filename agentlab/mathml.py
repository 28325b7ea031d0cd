r"""LaTeX to MathML, which every current browser draws by itself: no script, no fonts, nothing from the web.

docutils does the work; the few commands of the lessons that it does not know are written in ones that it does.
"""

from __future__ import annotations

import html
import re

from agentlab.errors import LessonError

DOLLARS = re.compile(
    r"(?<![\\$])\$\$(.+?)\$\$|(?<![\\$\w])\$(?![\s$])((?:[^$\n]|\n(?!\s*\n))+?)(?<![\s\\])\$(?![\w$])", re.S
)
FENCES = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.M | re.S)
SIZED = re.compile(r"\\([bB]igg?)\s*(\\[{}|]|[\[\](){}|])")  # \big( without saying whether it opens or closes
# TeX puts a little room around the names of functions, but none before a bracket; the mark between them has no width.
APPLIED = re.compile(r"<mo>&ApplyFunction;</mo>(?!<mo[^>]*>[(\[])")
BEFORE_NAME = re.compile(
    r"((?:</m(?:i|n|sub|sup|frac|row)>|<mo[^>]*>[)\]]</mo>))(?=<mi>[a-z]{2,}</mi><mo>&ApplyFunction;)"
)
THIN = '<mspace width="0.17em"></mspace>'
OTHER_NAMES = {r"\dots": r"\ldots", r"\lVert": r"\|", r"\rVert": r"\|"}


def to_mathml(tex: str, block: bool = False) -> str:
    r"""A formula as a ``<math>`` element on one line; raises `LessonError` for a command that is not known.

    >>> to_mathml("x_1")
    '<math xmlns="http://www.w3.org/1998/Math/MathML"><msub><mi>x</mi><mn>1</mn></msub></math>'
    """
    from docutils.utils.math import MathError, latex2mathml

    plain = SIZED.sub(_with_side, tex.strip())
    for name, other in OTHER_NAMES.items():
        plain = re.sub(re.escape(name) + r"(?![a-zA-Z])", lambda _, other=other: other, plain)
    try:
        written = latex2mathml.tex2mathml(plain, as_block=block)
    except MathError as error:
        raise LessonError(
            f"The formula {tex.strip()!r} cannot be drawn: {error} Write it with other commands."
        ) from None
    written = re.sub(r">\s+<", "><", written.replace("\n", " "))
    return APPLIED.sub(THIN, BEFORE_NAME.sub(r"\1" + THIN, written))


def _with_side(match: re.Match) -> str:
    size, bracket = match.groups()
    side = "l" if bracket in (r"\{", "{", "(", "[") else "r"
    return f"\\{size}{side}{bracket}"


def in_markdown(text: str) -> str:
    """Markdown with its dollar formulas as MathML, whose signs Markdown then leaves alone; code stays as it is."""
    parts = FENCES.split(text)
    return "".join(part if n % 2 else DOLLARS.sub(_as_html, part) for n, part in enumerate(parts))


def _as_html(match: re.Match) -> str:
    written = to_mathml(match[1] or match[2], block=bool(match[1]))
    return re.sub(r">([^<]+)<", lambda m: f">{_hidden(m[1])}<", written)


def _hidden(text: str) -> str:
    """Text with the signs that Markdown would read as mark-up written as numbers."""
    return re.sub(r"[*_\[\]\\`~|^]", lambda m: f"&#{ord(m[0])};", html.escape(html.unescape(text), quote=False))
