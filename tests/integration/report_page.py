"""The page of `mxq report` in Chromium (scripts/setup.sh --browser).

    report_page.py MXQ

First of a small experiment, with every figure: that it opens without an error or a request, that hovers show values, that a click in a legend
hides a series, that headings sort, that the filter filters, that themes change, that all can be done by keyboard, that nothing is wider than
a phone and panels are one below the other there, and that nothing can be sent. Then of some 2,000 results of ten models: that it weighs less
than 10 MB; how long it takes to open is printed. MXQ_PYTHON must have plotly and matplotlib.
"""
import csv
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from support import small_text_model  # noqa: E402

SEED = 20261124
MODELS, METHODS, BUDGETS = 10, 12, 18
LIMIT = 10 * 10**6
PHONE = 390
PATIENCE = 120  # seconds, for machines that have much else to do
SCHEMES = [f"b{b}g{g}" for b in (2, 3, 4, 5, 6, 8) for g in (32, 64, 128)]
SPEC = """
store = "small.db"
[[models]]
name = "small"
path = "model"
[[texts]]
name = "wikitext"
path = "text"
window = 64
stride = 64
[metrics]
kl = ["wikitext"]
[[metrics.commands]]
name = "files"
run = ["sh", "-c", '''printf '{"count": %s, "<b>": [1, 2]}' $(ls "$0" | wc -l)''', "{checkpoint}"]
[[methods]]
name = "original"
original = true
[[methods]]
name = "rtn"
fit = "rtn"
uniform = ["b2g32", "b3g32", "b4g32"]
[[methods]]
name = "<b>normal</b> & floats"
uniform = ["nf4g64"]
[[methods]]
name = "mixed"
fit = "mse"
objective = "f2"
bits = [3, 3.5, 4]
"""
FIGURES = ["frontier", "methods", "degradation", "memory", "duration", "weights", "allocation", "packing"]


def require(condition, what):
    if not condition: sys.exit(f"FAILED: {what}")


def report(mxq, folder, store, *arguments):
    subprocess.run([mxq, "report", folder / store, "-o", folder / "report", "--formats", "none", *arguments], check=True)
    return folder / "report/index.html"


def small_report(mxq, folder):
    """Of an experiment that has all."""
    small_text_model(folder / "model")
    (folder / "text").write_text("The tower is 324 metres tall, about the same height as an 81-storey building. " * 6)
    (folder / "spec.toml").write_text(SPEC)
    environment = {**os.environ, "MXQ_CACHE": str(folder / "cache")}
    subprocess.run([mxq, "bench", folder / "spec.toml", "--quiet"], check=True, env=environment)
    subprocess.run([mxq, "quantize", folder / "model", "-o", folder / "packed", "--uniform", "b3g32", "--fit", "mse", "--normalize", "none",
                    "--quiet"], check=True, env=environment, stdout=subprocess.DEVNULL)
    return report(mxq, folder, "small.db", "--checkpoint", folder / "packed")


def many_results():
    """Rows of the authors' form: what is lost halves twice a bit; one original a model."""
    draw = random.Random(SEED)
    for m in range(MODELS):
        model, base, parameters = f"model-{m:02}", 5 + m, 10**9 * (m + 1)
        yield [model, "fp16", "base", 16, "", base, base * 1.4, 2 * parameters / 2**30, 2 * parameters / 2**30, 0, parameters]
        for k in range(METHODS):
            for i in range(BUDGETS):
                bits = 2.25 + i / 3 if k else int(SCHEMES[i][1]) + 16 / int(SCHEMES[i][3:])
                loss = math.exp(0.3 * k - 1.4 * (bits - 2) + draw.uniform(-0.1, 0.1))
                size = bits / 8 * parameters / 2**30
                yield [model, "uniform" if k == 0 else f"planned {k}", SCHEMES[i] if k == 0 else f"{bits:.2f}", bits, "",
                       base * (1 + loss), base * 1.4 * (1 + loss), size, size, 10 * (k + 1) * draw.uniform(0.8, 1.2), parameters]


def large_report(mxq, folder):
    with open(folder / "results.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow("model,algo,config,bpp,attempt,ppl_wikitext,ppl_c4,load_mem_allot,model_storage_size,quant_duration,param_count".split(","))
        out.writerows(many_results())
    subprocess.run([mxq, "bench", "import", folder / "large.db", folder / "results.csv"], check=True)
    return report(mxq, folder, "large.db")


# Says when the first chart has been painted, in milliseconds since one went to the page.
FIRST_CHART = """new MutationObserver((_, observer) => {
    if (!document.querySelector(".chart .main-svg")) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.firstChart = performance.now(); }));
}).observe(document, { childList: true, subtree: true });"""


class Watched:
    """A page, and what it should not do: errors, and requests of anything but itself."""

    def __init__(self, browser, index, **options):
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(1000 * PATIENCE)
        self.errors, self.requests, self.popups = [], [], []
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("popup", lambda popup: self.popups.append(popup.url))
        self.page.on("request", lambda request: self.requests.append(request.url) if request.url != index.as_uri() and
                     not request.url.startswith(("data:", "blob:")) else None)
        self.page.add_init_script(FIRST_CHART)
        self.page.goto(index.as_uri())
        self.page.wait_for_function("window.firstChart")
        self.seconds = self.page.evaluate("window.firstChart") / 1000

    def require_quiet(self):
        require(not self.errors, f"no error: {self.errors}")
        require(not self.requests and not self.popups, f"nothing is requested or opened: {self.requests}, {self.popups}")

    def until(self, holds, what):
        """Waits for what the page does in its own time."""
        end = time.monotonic() + PATIENCE
        while not holds():
            require(time.monotonic() < end, what)
            self.page.wait_for_timeout(100)

    def chart(self, figure):
        """That of a figure, drawn: charts are when one comes to them."""
        found = self.page.locator(f".chart[id^='{figure}-']").first
        found.scroll_into_view_if_needed()
        found.locator(".main-svg").first.wait_for()
        self.page.wait_for_timeout(200)
        return found


def hover(watched, figure, mark, pattern):
    """Over the last such mark of the figure."""
    chart = watched.chart(figure)
    said = chart.locator(".hoverlayer .hovertext").first

    def hovered():
        # Again until it is said: the page still moves while charts above are drawn.
        watched.page.mouse.move(0, 0)
        last = chart.locator(mark).last
        box = last.bounding_box()
        # At its top: on a logarithmic axis a bar goes on below the plot.
        last.hover(force=True, position={"x": box["width"] / 2, "y": min(4, box["height"] / 2)})
        watched.page.wait_for_timeout(300)
        return said.count()

    watched.until(hovered, f"a hover over {figure} shows something")
    text = said.text_content()
    require(re.search(pattern, text), f"a hover over {figure} shows {pattern}, not '{text}'")


POINT, BAR = "g.scatterlayer .trace .points path", "g.barlayer .trace .points .point path"


def check_figures(watched):
    """All are there, and say their values."""
    for figure in FIGURES: require(watched.page.locator(f".chart[id^='{figure}-']").count(), f"there is a figure {figure}")
    size = r"bits per parameter[\d.]+ MiBKL [\d.e-]+perplexity [\d.]+"
    hover(watched, "frontier", POINT, size)
    hover(watched, "methods", POINT, size)
    hover(watched, "degradation", POINT, size)
    hover(watched, "weights", POINT, r"layer \d+kurtosis [\d.]+")
    hover(watched, "memory", BAR, r"[\d.]+ MiB[\d.]+% of the largest")
    hover(watched, "duration", BAR, r"median [\d.]+ s of \d runs")
    hover(watched, "allocation", BAR, r"layer \d+b\d+g\d+[\d.e-]+ MiB")
    hover(watched, "packing", BAR, r"\(\d+ - [\d.e+-]+\) \* [\d.e+-]+")
    axis = watched.chart("methods").locator(".ytitle").text_content()
    require("KL divergence" in axis, f"loss is KL divergence, not {axis}")
    names = watched.chart("methods").locator(".legendtext").all_text_contents()
    require(names == ["rtn", "<b>normal</b> & floats", "mixed"], f"names in legends are as they are: {names}")


def count_of_series(chart): return chart.locator("g.scatterlayer .trace").count()


def colors(page):
    """Of paper, and of a chart's texts."""
    return page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.xtitle')).fill]")


def check_legend(watched):
    chart = watched.chart("methods")
    before = count_of_series(chart)
    chart.locator(".legendtoggle").last.click()
    watched.until(lambda: count_of_series(chart) == before - 1, "a click in the legend hides a series")
    for _ in range(2):
        old = colors(watched.page)
        watched.page.locator("#theme").click()
        watched.until(lambda: all(a != b for a, b in zip(old, colors(watched.page))), "the theme of the page and of its charts changes")
        require(count_of_series(chart) == before - 1, "what is hidden stays so in the other theme")
    chart.locator(".legendtoggle").last.click()
    watched.until(lambda: count_of_series(chart) == before, "another click shows it")


def column(table, name):
    """The texts of a column."""
    return table.evaluate("""(element, name) => {
        const place = [...element.querySelectorAll("th")].findIndex((th) => th.textContent.trim() === name);
        return [...element.querySelectorAll("tbody tr")].map((row) => row.children[place].textContent);
    }""", name)


def check_tables(watched):
    table = watched.page.locator("[data-table]").nth(1)
    rows = table.locator("tbody tr")
    rows.first.wait_for(state="attached")
    require(rows.count() == 8, f"all results are in the table, not {rows.count()}")
    heading = table.locator("th button", has_text=re.compile("^bits$"))
    for order in (1, -1):
        heading.click()
        numbers = [order * float(value) for value in column(table, "bits") if value]
        require(numbers == sorted(numbers) and len(numbers) == 8, f"a heading sorts by number: {numbers}")
    require(len([value for value in column(table, "files.count") if float(value) > 0]) == 8, "what commands measured is in the table")
    table.locator("input").fill("rtn B3")
    require(rows.count() == 1, f"the filter leaves the one row that fits, not {rows.count()}")
    table.locator("input").fill("")
    printed = watched.page.locator("[data-table]").nth(2)
    text = printed.locator("pre").first
    require(not text.is_visible(), "what commands printed is folded")
    printed.locator("summary").first.click()
    require(text.is_visible() and '"<b>": [' in text.text_content(), f"it unfolds: {text.text_content()}")


def check_keyboard(watched):
    """Tab comes to all that can be worked, and one sees where one is."""
    page = watched.page
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    wanted = {"#theme": "the theme", "nav a": "links", ".modebar-btn": "a chart's buttons", ".legend .traces": "a legend's names",
              "[data-table] input": "filters", "th button": "headings", ".scroll": "tables", "summary": "what is folded"}
    reached = set()
    for _ in range(600):
        page.keyboard.press("Tab")
        kinds, outline = page.evaluate("""(wanted) => {
            const at = document.activeElement, style = getComputedStyle(at);
            return [wanted.filter((selector) => at.matches(selector)), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1];
        }""", list(wanted))
        require(outline or not kinds, f"{kinds} shows that it has the focus")
        reached.update(kinds)
        if len(reached) == len(wanted): break
    require(reached == set(wanted), f"Tab comes to {[name for selector, name in wanted.items() if selector not in reached]}")
    chart = watched.chart("methods")
    before = count_of_series(chart)
    for count, state in ((before - 1, "false"), (before, "true")):
        chart.locator(".legend .traces").first.focus()
        page.keyboard.press("Enter")
        watched.until(lambda: count_of_series(chart) == count, f"Enter on a legend's name leaves {count} series")
        watched.until(lambda: page.evaluate("document.activeElement.getAttribute('aria-checked')") == state, "the focus stays there")


def check_buttons(watched):
    """None uploads a chart: each that a chart has is pressed."""
    chart = watched.chart("methods")
    buttons = chart.locator(".modebar-btn")
    names = [button.get_attribute("data-title") for button in buttons.all()]
    require(names and not [name for name in names if re.search("share|cloud|send|upload", name, re.I)], f"no button shares: {names}")
    for i, name in enumerate(names):
        buttons.nth(i).dispatch_event("click")
        watched.page.wait_for_timeout(300)
        require(watched.page.locator("[class*=cloud]").count() == 0, f"the button '{name}' asks for no upload")
        watched.require_quiet()


def check_policy(watched):
    """What its scripts might try, the browser refuses. Last: refusals are errors of the console."""
    refused = watched.page.evaluate("""async () => {
        const refused = [];
        document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
        await fetch("https://example.org/").catch(() => 0);
        try { new WebSocket("wss://example.org/"); } catch { }
        new Image().src = "https://example.org/image.png";
        navigator.sendBeacon("https://example.org/");
        const form = document.createElement("form"), script = document.createElement("script");
        form.action = "https://example.org/";
        document.body.append(form);
        form.submit();
        script.textContent = "window.intruded = true";
        document.body.append(script);
        await new Promise((done) => setTimeout(done, 500));
        return refused.concat(window.intruded ? ["script ran"] : []);
    }""")
    expected = ["connect-src"] * 3 + ["form-action", "img-src", "script-src-elem"]
    require(sorted(refused) == expected, f"the page's policy refuses {expected}, not {sorted(refused)}")


def check_phone(watched):
    """Nothing is too wide, and no panel stands beside another."""
    for figure in FIGURES:
        chart = watched.chart(figure)
        plots = chart.evaluate("""(element) => Object.entries(element._fullLayout).filter(([name, axis]) => /^xaxis/.test(name) && axis.domain)
            .map(([name, axis]) => [axis.domain, element._fullLayout["yaxis" + axis.anchor.slice(1)].domain])""")
        for (x, y) in plots: require(x == [0, 1], f"panels of {figure} are as wide as the chart, not {x}")
        heights = sorted(y for _, y in plots)
        require(all(low[1] < high[0] for low, high in zip(heights, heights[1:])), f"panels of {figure} are one below the other: {heights}")
        box = chart.bounding_box()
        require(box["x"] >= 0 and box["x"] + box["width"] <= PHONE, f"{figure} is within the screen: {box}")
    wide = watched.page.evaluate("document.documentElement.scrollWidth")
    require(wide <= PHONE, f"nothing is wider than a phone of {PHONE}, not {wide}")


def check_small(browser, index):
    watched = Watched(browser, index, viewport={"width": 1280, "height": 900}, color_scheme="light")
    check_figures(watched)
    check_legend(watched)
    check_tables(watched)
    check_keyboard(watched)
    check_buttons(watched)
    watched.require_quiet()
    check_policy(watched)
    phone = Watched(browser, index, viewport={"width": PHONE, "height": 800}, is_mobile=True, has_touch=True)
    check_phone(phone)
    phone.require_quiet()


def check_large(browser, index):
    """Seconds until the first chart is drawn."""
    watched = Watched(browser, index, viewport={"width": 1280, "height": 900})
    body = watched.page.locator("[data-table]").nth(1).locator("tbody tr")
    body.first.wait_for(state="attached")
    rows = body.count()
    require(rows == MODELS * (METHODS * BUDGETS + 1), f"all results are in the table, not {rows}")
    watched.require_quiet()
    return watched.seconds


def main():
    mxq = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        folder = pathlib.Path(folder)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        index = small_report(mxq, folder)
        check_small(browser, index)
        index = large_report(mxq, folder)
        size = index.stat().st_size
        require(size < LIMIT, f"the page weighs less than {LIMIT} bytes, not {size}")
        seconds = check_large(browser, index)
        browser.close()
    print(f"{MODELS * (METHODS * BUDGETS + 1)} results: {size / 1e6:.1f} MB, first chart {seconds:.2f} s after opening (target 3 s, 10 MB)")


if __name__ == "__main__":
    main()
