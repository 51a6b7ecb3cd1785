"""screenshots.py INDEX FOLDER: report-light.png, -dark.png and -phone.png of a page of `mxq report` (needs setup.sh --browser)."""
import pathlib
import sys

from playwright.sync_api import sync_playwright

LOOKS = {"light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"},
         "phone": {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "device_scale_factor": 2}}


def main():
    index, folder = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, options in LOOKS.items():
            page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}} | options)
            page.goto(index.as_uri())
            page.wait_for_selector(".chart .main-svg")
            page.wait_for_timeout(1000)
            page.screenshot(path=folder / f"report-{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
