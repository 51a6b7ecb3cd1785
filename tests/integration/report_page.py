"""The page of `mxq report` in Chromium (scripts/setup.sh --browser), with some 2,000 results of ten models.

    report_page.py MXQ [SCREENSHOTS]

Checks that it opens without an error or a request, that a hover shows a point's values, that a click in the legend hides a series, that
headings sort, that the filter filters, that themes change, that nothing is wider than a phone, and that it weighs less than 10 MB. Prints
how long it takes to open. MXQ_PYTHON must have plotly and matplotlib.
"""
import csv
import math
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

from playwright.sync_api import sync_playwright

SEED = 20261124
MODELS, METHODS, BUDGETS = 10, 12, 18
LIMIT = 10 * 10**6
SCHEMES = [f"b{b}g{g}" for b in (2, 3, 4, 5, 6, 8) for g in (32, 64, 128)]


def results():
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


def require(condition, what):
    if not condition: sys.exit(f"FAILED: {what}")


def table(page):
    return page.locator("[data-table]").nth(1)


def check_buttons(page, requests):
    """None uploads a chart: each that a chart has is pressed."""
    popups = []
    page.on("popup", lambda popup: popups.append(popup.url))
    chart = page.locator(".chart").first
    buttons = chart.locator(".modebar-btn")
    names = [button.get_attribute("data-title") for button in buttons.all()]
    require(names and not [name for name in names if re.search("share|cloud|send|upload", name, re.I)], f"no button shares: {names}")
    for i, name in enumerate(names):
        buttons.nth(i).dispatch_event("click")
        page.wait_for_timeout(300)
        require(not popups and not requests and page.locator("[class*=cloud]").count() == 0, f"the button '{name}' sends nothing: {requests}")
    chart.get_by_role("button", name="Reset axes").dispatch_event("click")


def check_policy(page):
    """What its scripts might try, the browser refuses. Last: refusals are errors of the console."""
    refused = page.evaluate("""async () => {
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


def check(page, url, errors, requests, screenshots):
    began = time.monotonic()
    page.goto(url)
    page.wait_for_selector(".chart .main-svg")
    opened = time.monotonic() - began
    chart = page.locator(".chart").first
    # A hover: over the first point of the last series that is drawn as one.
    chart.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    chart.locator("g.scatterlayer .trace .points path").last.hover(force=True)
    page.wait_for_selector(".chart .hoverlayer .hovertext")
    said = chart.locator(".hoverlayer .hovertext").first.text_content()
    require(re.search(r"bits a weight.*perplexity [\d.]+", said), f"a hover shows values, not '{said}'")
    if screenshots: page.screenshot(path=screenshots / "report-light.png")
    # A legend: a click takes its series away (it waits whether a second one follows).
    before = chart.locator("g.scatterlayer .trace").count()
    chart.locator(".legendtoggle").last.click()
    page.wait_for_timeout(1000)
    require(chart.locator("g.scatterlayer .trace").count() < before, "a click in the legend hides a series")
    # A table.
    at = table(page)
    rows = at.locator("tbody tr")
    require(rows.count() == MODELS * (METHODS * BUDGETS + 1), f"all results are in the table, not {rows.count()}")
    heading = at.locator("th", has_text="bits")
    heading.locator("button").click()
    place = [text.strip() for text in at.locator("th").all_text_contents()].index("bits")
    values = page.evaluate("([table, place]) => [...table.querySelectorAll('tbody tr')].map(r => r.children[place].textContent)",
                           [at.element_handle(), place])
    numbers = [float(value) for value in values if value]
    require(numbers == sorted(numbers) and len(numbers) == MODELS * METHODS * BUDGETS, "a heading sorts by number")
    at.locator("input").fill("model-03 b4g64")
    require(rows.count() == 1, f"the filter leaves the one row that fits, not {rows.count()}")
    at.locator("input").fill("")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.evaluate("scrollTo(0, 0)")
    page.locator("#theme").click()
    require(page.evaluate("getComputedStyle(document.body).backgroundColor") != paper, "the theme changes")
    page.wait_for_timeout(500)
    if screenshots: page.screenshot(path=screenshots / "report-dark.png")
    # All charts are drawn when one comes to them.
    for i in range(page.locator(".chart").count()):
        page.locator(".chart").nth(i).scroll_into_view_if_needed()
        page.wait_for_selector(f".chart >> nth={i} >> .main-svg >> nth=0")
    check_buttons(page, requests)
    require(not errors, f"no error: {errors}")
    require(not requests, f"no request: {requests}")
    check_policy(page)
    return opened


def main():
    mxq = sys.argv[1]
    screenshots = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if screenshots: screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        folder = pathlib.Path(folder)
        with open(folder / "results.csv", "w", newline="") as file:
            out = csv.writer(file)
            out.writerow("model,algo,config,bpp,attempt,ppl_wikitext,ppl_c4,load_mem_allot,model_storage_size,quant_duration,param_count".split(","))
            count = sum(out.writerow(row) > 0 for row in results())
        subprocess.run([mxq, "bench", "import", folder / "results.db", folder / "results.csv"], check=True)
        began = time.monotonic()
        subprocess.run([mxq, "report", folder / "results.db", "-o", folder / "report", "--formats", "none"], check=True)
        made = time.monotonic() - began
        index = folder / "report/index.html"
        size = index.stat().st_size
        require(size < LIMIT, f"the page weighs less than {LIMIT} bytes, not {size}")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        errors, requests = [], []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url) if request.url != index.as_uri() and
                not request.url.startswith(("data:", "blob:")) else None)
        opened = check(page, index.as_uri(), errors, requests, screenshots)
        phone = browser.new_page(viewport={"width": 390, "height": 800}, is_mobile=True, device_scale_factor=2)
        phone.goto(index.as_uri())
        phone.wait_for_selector(".chart .main-svg")
        phone.wait_for_timeout(500)
        wide = phone.evaluate("document.documentElement.scrollWidth")
        require(wide <= 390, f"nothing is wider than a phone of 390, not {wide}")
        if screenshots: phone.screenshot(path=screenshots / "report-phone.png")
        browser.close()
    print(f"{count} results: page made in {made:.1f} s, {size / 1e6:.1f} MB, first chart {opened:.2f} s after opening (target 3 s, 10 MB)")


if __name__ == "__main__":
    main()
