"""One look for all widgets: colours with enough contrast in light and dark JupyterLab, and boxes that wrap on a narrow screen.

The colours are Okabe and Ito's, darkened or lightened until text in them is readable. Where JupyterLab or Voila tell their
own colours by CSS variables, backgrounds and plain text follow those.

>>> contrast("#000000", "#ffffff")
21.0
>>> min(contrast(ink, LIGHT["page"]) for name, ink in LIGHT.items() if name in INKS) >= 4.5
True
"""

from __future__ import annotations

INKS = ("ink", "quiet", "blue", "green", "vermilion", "purple")  # colours that text is written in
LIGHT = {
    "page": "#ffffff", "ink": "#1a1a1a", "quiet": "#555555", "line": "#767676", "mine": "#e6f1f8", "theirs": "#f3f3f3",
    "blue": "#0072b2", "green": "#00664b", "vermilion": "#a84900", "purple": "#8f3a69", "on": "#ffffff",
}  # fmt: skip
DARK = {
    "page": "#111111", "ink": "#f2f2f2", "quiet": "#bdbdbd", "line": "#8a8a8a", "mine": "#12303f", "theirs": "#262626",
    "blue": "#56b4e9", "green": "#3ecfa3", "vermilion": "#ff9a57", "purple": "#e59cc4", "on": "#111111",
}  # fmt: skip
FOLLOWED = {  # colours that a page may tell
    "page": "--jp-layout-color1",
    "ink": "--jp-ui-font-color0",
}


def contrast(one: str, other: str) -> float:
    """The contrast of two colours ``#rrggbb`` as WCAG 2 defines it, from 1 to 21; text needs 4.5."""

    def luminance(colour: str) -> float:
        channels = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return round((high + 0.05) / (low + 0.05), 2)


def _variables(colours: dict[str, str]) -> str:
    return "".join(
        f"--al-{name}:{f'var({FOLLOWED[name]},{value})' if name in FOLLOWED else value};"
        for name, value in colours.items()
    )


def css() -> str:
    """The style sheet of all widgets; every rule begins with ``.al``, so that nothing else on the page changes."""
    return (
        f".al{{{_variables(LIGHT)}color:var(--al-ink);max-width:60em;width:100%}}"
        f'body[data-jp-theme-light="false"] .al,body.theme-dark .al,html[theme="dark"] .al{{{_variables(DARK)}}}'
        + RULES.replace("\n", "")
    )


RULES = """
.al .widget-html-content,.al .jupyter-widget-html-content{line-height:1.45;overflow-wrap:anywhere;white-space:normal}
.al .widget-html,.al .jupyter-widgets.widget-html{height:auto;width:auto;max-width:100%;margin:2px 0}
.al .widget-label,.al label{color:var(--al-ink);width:auto;max-width:100%;overflow:visible}
.al input,.al textarea,.al select{color:var(--al-ink)!important;background-color:var(--al-page)!important;border:1px solid var(--al-line)!important}
.al .jupyter-button{background:var(--al-theirs);color:var(--al-ink);border:1px solid var(--al-line);border-radius:4px;
width:auto;height:auto;min-height:2em;padding:4px 12px;line-height:1.35;white-space:normal;text-align:left;overflow-wrap:anywhere}
.al .jupyter-button.al-main{background:var(--al-blue);color:var(--al-on);border-color:var(--al-blue)}
.al .jupyter-button.mod-active{background:var(--al-mine);border:2px solid var(--al-blue);box-shadow:none}
.al .jupyter-button:disabled{opacity:1;color:var(--al-quiet);background:var(--al-theirs);border-style:dashed}
.al .jupyter-button:focus,.al .jupyter-button:focus-visible,.al summary:focus-visible,.al a:focus-visible,.al input:focus,
.al textarea:focus,.al select:focus,.al .noUi-handle:focus{outline:3px solid var(--al-blue)!important;outline-offset:2px}
.al-row{display:flex;flex-flow:row wrap!important;gap:6px;align-items:center;overflow:visible}
.al-row>*{max-width:100%}
.al .widget-vbox>.jupyter-button,.al-col>.jupyter-button{align-self:flex-start}
.al ul.al-row-of-figures{display:flex;flex-wrap:wrap;gap:6px 14px;list-style:none;padding:0;margin:4px 0}
.al ul.al-row-of-figures li{min-width:7.5em}
.al-col{overflow:visible}
.al-log{display:flex;flex-direction:column-reverse!important;overflow-y:auto;max-height:36em;min-height:4em;
border:1px solid var(--al-line);border-radius:6px;padding:8px;background:var(--al-page)}
.al-log>*{flex:none;width:100%}
.al-turn{margin-bottom:10px;overflow:visible}
.al-say{border-radius:6px;padding:6px 10px;margin:2px 0;color:var(--al-ink);white-space:pre-wrap}
.al-say b{display:block;font-size:.85em}
.al-mine{background:var(--al-mine);border-left:4px solid var(--al-blue);margin-left:12%}
.al-theirs{background:var(--al-theirs);border-left:4px solid var(--al-green);margin-right:12%}
.al details{margin:2px 0 2px 4px}
.al summary{cursor:pointer;color:var(--al-quiet)}
.al details[open]>summary{color:var(--al-ink)}
.al .al-part{margin:4px 0 4px 8px}
.al ul,.al ol{margin:2px 0 4px 0;padding-left:22px}
.al code{background:var(--al-theirs);color:var(--al-ink);padding:0 3px;overflow-wrap:anywhere;white-space:pre-wrap}
.al mark{background:none;color:inherit;border-bottom:3px solid var(--al-blue)}
.al sub{color:var(--al-quiet);font-size:.8em}
.al a{color:var(--al-blue)}
.al table{border-collapse:collapse;color:var(--al-ink)}
.al caption{text-align:left;caption-side:top;font-weight:bold;color:var(--al-ink)}
.al th,.al td{border:1px solid var(--al-line);padding:2px 8px;text-align:left;background:none;color:var(--al-ink)}
.al-wide{overflow-x:auto;max-width:100%}
.al-fault{color:var(--al-vermilion);font-weight:bold}
.al-quiet{color:var(--al-quiet)}
.al-good{color:var(--al-green);font-weight:bold}
.al-bad{color:var(--al-vermilion);font-weight:bold}
.al img{max-width:100%;height:auto;background:#fff}
"""


def style_sheet():
    """A widget that holds the style sheet; each panel carries one, since a page may show any of them alone."""
    import ipywidgets as widgets

    return widgets.HTML(f"<style>{css()}</style>", layout=widgets.Layout(height="0", margin="0"))
