"""One HTML file that needs nothing else: charts by plotly, whose code it holds, and tables that sort."""
import base64
import hashlib
import html
import json
import math
import pathlib

from . import draw_plotly
from .tables import Folded

FOLDER = pathlib.Path(__file__).parent


def _plotly_code():
    from plotly.offline import get_plotlyjs
    return get_plotlyjs()


def _embedded(code): return code.replace("</script", "<\\/script")


def _policy(scripts):
    """What the browser lets the page do: run these scripts and nothing else, and fetch nothing from anywhere. Plotly makes style sheets
    and, of a chart that is saved as a picture, images."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'; base-uri 'none'"


def page(title, summary, sections):
    """Sections: pairs of a heading and its charts and tables."""
    charts, tables, body, links = [], [], [], []
    for i, (heading, parts) in enumerate(sections):
        links.append(f'<a href="#s{i}">{html.escape(heading)}</a>')
        body.append(f'<h2 id="s{i}">{html.escape(heading)}</h2>')
        for part in parts:
            body.append(f"<h3>{html.escape(part.title)}</h3><p>{html.escape(part.caption)}</p>")
            if hasattr(part, "panels"):
                drawn = draw_plotly.draw(part)
                body.append(f'<div class="chart" id="{part.key}" data-chart="{len(charts)}" style="min-height:{drawn["layout"]["height"]}px"></div>')
                charts.append(drawn)
            else:
                body.append(f'<div data-table="{len(tables)}"><input type="search" placeholder="filter" aria-label="filter">'
                            f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(part.title)}">'
                            '<table><thead></thead><tbody></tbody></table></div></div>')
                tables.append({"columns": part.columns, "rows": [[_cell(value) for value in row] for row in part.rows]})
    data = json.dumps({"charts": charts, "tables": tables}, separators=(",", ":"), allow_nan=False)
    # Within a script "<" may begin what ends it, or keeps it from ending.
    data = data.replace("<", "\\u003c")
    scripts = [_embedded(_plotly_code()), (FOLDER / "page.js").read_text()]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{(FOLDER / "page.css").read_text()}</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1><button id="theme" type="button">dark / light</button></header>
<nav>{" ".join(links)}</nav>
<main>
<p>{html.escape(summary)}</p>
{"".join(body)}
</main>
<script type="application/json" id="report">{data}</script>
{"".join(f"<script>{script}</script>" for script in scripts)}
</body>
</html>
"""


def _cell(value):
    if isinstance(value, Folded): return {"line": value.line, "text": value.text}
    if not isinstance(value, float): return value
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)
