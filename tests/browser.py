"""A browser for the tests, Debian's Chromium, by its command line."""

import html
import json
import re
import shutil
import subprocess

import pytest


def in_browser(path, *arguments):
    """The page as HTML after its script has run."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("there is no Chromium")
    return subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", *arguments, "--dump-dom",
                           path.as_uri()], capture_output=True, text=True, timeout=240).stdout


def asked(path, expression, *arguments):
    """What statements of JavaScript return, which are run on a page when it is there."""
    beside = path.with_name(f"asked-{path.name}")
    script = f"<script>document.title = JSON.stringify((() => {{ {expression} }})());</script></html>"
    beside.write_text(path.read_text(encoding="utf-8").replace("</html>", script), encoding="utf-8")
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", in_browser(beside, *arguments), re.S)[1]))


def on_a_phone_in_the_dark(path):
    """The colour behind a page of 400 pixels, and how wide what is on it is, but for what scrolls by itself.

    Chromium has no window as narrow as that, but a frame can be.
    """
    frame = path.with_name(f"frame-{path.name}")
    frame.write_text(f"""<!doctype html><title></title><iframe style="width: 400px; height: 800px; border: 0"
srcdoc="{html.escape(path.read_text(encoding="utf-8"))}" onload="const page = this.contentDocument;
document.title = JSON.stringify([page.defaultView.getComputedStyle(page.body).backgroundColor,
page.documentElement.scrollWidth])"></iframe></html>""", encoding="utf-8")
    shown = in_browser(frame, "--blink-settings=preferredColorScheme=0", "--hide-scrollbars")
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", shown, re.S)[1]))
