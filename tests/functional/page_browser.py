#!/usr/bin/python3
"""Looks at pages of jobbox report --html in a headless Chromium, through chromedriver on loopback: page_browser.py CHECK PAGE [FOLDER].

  year FOLDER   a page of many records: it is drawn, sorted, filtered, by keyboard too; light.png and dark.png go to FOLDER
  hostile       names that look like markup are texts
  empty         no record
"""
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib

PATIENCE = 60 * int(os.environ.get("JBT_SLOWER", "1"))
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-quic", "--window-size=1300,1000"]
ENTER, TAB, DOWN, RIGHT, END, HOME = "\ue007", "\ue004", "\ue015", "\ue014", "\ue010", "\ue011"


class Browser:
    def __init__(self, folder):
        env = dict(os.environ, HOME=folder, XDG_CONFIG_HOME=folder, XDG_CACHE_HOME=folder)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                                       start_new_session=True)
        self.base = None
        for line in self.driver.stdout:
            match = re.search(r"started successfully on port (\d+)", line)
            if match:
                self.base = f"http://127.0.0.1:{match[1]}"
                break
        if not self.base:
            sys.exit("chromedriver did not start")
        options = {"args": ARGUMENTS + [f"--user-data-dir={folder}/data"]}
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})
        self.base += "/session/" + answer["sessionId"]

    def call(self, method, path, body=None):
        data = json.dumps(body if body is not None else {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{path} {body}: {error.read().decode()}")

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            os.killpg(self.driver.pid, signal.SIGTERM)
            self.driver.wait()
            self.driver.stdout.close()

    def open(self, page):
        self.call("POST", "/url", {"url": "about:blank"})
        for kind in ("browser", "performance"):  # of the page that the browser starts with
            self.log(kind)
        self.call("POST", "/url", {"url": "file://" + os.path.abspath(page)})
        self.until("return document.documentElement.dataset.ready === 'yes'", "the page is ready")

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script, what):
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            if time.monotonic() > end:
                sys.exit(f"never: {what}; console: {self.log('browser')}")
            time.sleep(0.05)

    def find(self, selector):
        return self.call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def find_all(self, selector):
        return [e[ELEMENT] for e in self.call("POST", "/elements", {"using": "css selector", "value": selector})]

    def click(self, selector):
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", {ELEMENT: element})
        self.call("POST", f"/element/{element}/click")

    def keys(self, text):
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def focus(self, selector):
        self.run("document.querySelector(arguments[0]).focus()", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)

    def log(self, kind):
        return self.call("POST", "/se/log", {"type": kind})

    def scheme(self, name):
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {
            "features": [{"name": "prefers-color-scheme", "value": name}]}})


def check(condition, what):
    if not condition:
        sys.exit(f"not so: {what}")


def quiet(browser):
    """Nothing in the console, and nothing was asked of anybody but the file."""
    lines = browser.log("browser")
    check(not lines, f"the console is empty: {lines}")
    urls = set()
    for entry in browser.log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.add(message["params"]["request"]["url"])
    check(urls and all(url.startswith("file://") for url in urls) and len(urls) == 1, f"one file is loaded: {urls}")


def brightness(png):
    """Of the picture's first pixel row and column: the background."""
    data, at = b"", 8
    while at < len(png):
        size = int.from_bytes(png[at:at + 4], "big")
        kind = png[at + 4:at + 8]
        if kind == b"IHDR":
            width = int.from_bytes(png[at + 8:at + 12], "big")
        elif kind == b"IDAT":
            data += png[at + 8:at + 8 + size]
        at += 12 + size
    raw = zlib.decompress(data)
    check(width > 1000 and len(raw) > width * 3 * 500, "the screenshot has the window's size")
    # the filters of a row need what is left of a pixel: the first has nothing there
    return sum(raw[1:4]) / 3


def numbers(texts):
    return [float(t.replace(",", "").replace(" %", "").replace("unknown", "nan")) for t in texts]


def column(browser, table, n):
    return browser.texts(f"#{table} tbody tr > :nth-child({n})")


def sorts(browser):
    head = "#users thead th:nth-child({}) button"
    state = "return document.querySelector('#users thead th:nth-child({})').ariaSort"
    check(browser.run(state.format(3)) == "descending", "users are sorted by core-hours first")
    before = column(browser, "users", 1)
    browser.click(head.format(2))
    check(browser.run(state.format(2)) == "descending" and browser.run(state.format(3)) == "none", "aria-sort tells the column")
    values = numbers(column(browser, "users", 2))
    check(values == sorted(values, reverse=True) and len(set(values)) > 3, f"users by jobs: {values}")
    browser.click(head.format(2))
    values = numbers(column(browser, "users", 2))
    check(browser.run(state.format(2)) == "ascending" and values == sorted(values), f"users by jobs, ascending: {values}")
    browser.focus(head.format(1))
    browser.keys(ENTER)
    names = column(browser, "users", 1)
    check(browser.run(state.format(1)) == "ascending" and names == sorted(names) and names != before, f"users by name, by keyboard: {names}")
    check(len(names) == 20, "twenty are shown")
    browser.focus("#users button.all")
    browser.keys(ENTER)
    check(len(column(browser, "users", 1)) > 20, "all are shown")
    ids = column(browser, "jobs", 2)
    browser.click("#jobs thead th:nth-child(9) button")
    check(column(browser, "jobs", 2) != ids, "jobs by wall time")


def filters(browser):
    d = json.loads(browser.run("return document.getElementById('data').textContent"))
    account = d["account"][1]
    wanted = sum(n for n, a in zip(d["jobs_of"], d["account_of"]) if a == 1)
    hours = sum(n for n, a in zip(d["core_hours"], d["account_of"]) if a == 1)
    said = browser.texts("#said")[0]
    paths = len(browser.find_all("#time svg path"))
    drawn = {chart: browser.run(f"return document.querySelector('#{chart} svg').outerHTML") for chart in ("time", "eff", "waits", "ends", "memory", "busy")}
    check(paths >= 8, f"accounts are stacked: {paths}")
    browser.focus("#f-account")
    for _ in range(browser.run("return [...document.getElementById('f-account').options].findIndex(o => o.text === arguments[0])", account)):
        browser.keys(DOWN)
    browser.until(f"return document.getElementById('said').textContent.includes('account {account}')", "the filter is said")
    check(browser.texts("#tiles .value")[0] == f"{wanted:,}", f"the number of jobs is that of the account: {wanted}")
    shown = float(browser.texts("#tiles .value")[1].replace(",", ""))
    check(abs(shown - hours) <= 0.01 * hours, f"core-hours are those of the account: {shown}, {hours}")
    check(len(browser.find_all("#time svg path")) == 1, "one account is drawn")
    for chart, svg in drawn.items():
        check(browser.run(f"return document.querySelector('#{chart} svg').outerHTML") != svg, f"chart {chart} follows the filter")
    check(set(column(browser, "jobs", 4)) == {account}, "the table of jobs follows the filter")
    browser.click("#filters > button")
    check(browser.texts("#said")[0] == said and len(browser.find_all("#time svg path")) == paths, "all is shown again")
    browser.click("#time .legend li:nth-child(3) button")
    check(browser.run("return document.activeElement.getAttribute('aria-pressed')") == "true", "the legend filters, and keeps the focus")
    browser.keys(ENTER)
    check(browser.texts("#said")[0] == said, "and not any more")
    user = column(browser, "users", 1)[0]
    browser.click("#users tbody tr:first-child button")
    check(browser.run("return document.getElementById('f-user').selectedOptions[0].text") == user, "a user's name filters")
    check("by month and hour" in browser.texts("#busy .what")[0] and not browser.texts("#busy .note")[0], "busy cores follow a user by month")
    mine = browser.run("return document.querySelector('#busy svg').outerHTML")
    check(mine != drawn["busy"], "and are others")
    browser.run("const s = document.getElementById('f-reason'); s.selectedIndex = 1; s.dispatchEvent(new Event('change'))")
    check("Not narrowed by reason" in browser.texts("#busy .note")[0], "the page says what does not follow")
    browser.run("const s = document.getElementById('f-reason'); s.selectedIndex = 0; s.dispatchEvent(new Event('change'))")
    browser.run("const s = document.getElementById('f-from'); s.selectedIndex = 3; s.dispatchEvent(new Event('change'))")
    check(browser.run("return document.getElementById('said').textContent").count(user) == 1, "filters add up")
    jobs = int(re.match(r"([\d,]+) of", browser.texts("#said")[0])[1].replace(",", ""))
    place = d["user"].index(user)
    check(jobs == sum(n for n, u, s in zip(d["jobs_of"], d["user_of"], d["step_of"]) if u == place and s >= 3), "user and time together")
    browser.click("#filters > button")


def keyboard(browser):
    browser.keys(TAB)
    check(browser.run("return document.activeElement.className") == "skip", "the first is the link over the filters")
    reached = set()
    for _ in range(40):
        browser.keys(TAB)
        reached.add(browser.run("const a = document.activeElement; return a.id || a.closest('[id]')?.id || ''"))
    check({"f-from", "f-to", "f-account", "f-user", "f-reason", "time", "eff", "waits", "ends", "memory", "busy"} <= reached, f"all is reached: {reached}")
    for chart in ("time", "eff", "waits", "ends", "memory", "busy"):
        browser.focus(f"#{chart} .plot")
        browser.keys(RIGHT)
        first = browser.texts(f"#{chart} .read")[0]
        browser.keys(RIGHT + RIGHT)
        check(first and browser.texts(f"#{chart} .read")[0] not in ("", first), f"the arrow keys read chart {chart}")
        check(not browser.run("return document.getElementById('tip').hidden"), "what it says is shown")
        browser.keys(END + HOME)
        check(browser.texts(f"#{chart} .read")[0] == first, "and go to its ends")
        browser.focus(f"#{chart} summary")
        browser.keys(ENTER)
        browser.until(f"return document.querySelectorAll('#{chart} details[open] tbody tr').length > 3", f"chart {chart} is a table too")
        browser.keys(ENTER)


def names(browser):
    for selector in ("select", "#filters button", "#time .legend button", "thead button", "#users tbody tr:first-child button"):
        for element in browser.find_all(selector):
            check(browser.call("GET", f"/element/{element}/computedlabel"), f"{selector} has a name")
    for element in browser.find_all(".plot > svg"):
        check(len(browser.call("GET", f"/element/{element}/computedlabel")) > 20, "a chart says what it shows")
        check(browser.call("GET", f"/element/{element}/computedrole") in ("img", "image"), "a chart is an image")
    check(all(browser.texts("table caption h2")), "tables have captions")


def year(browser, page, folder):
    browser.scheme("light")
    browser.open(page)
    check(len(browser.find_all(".plot > svg")) == 6 and len(browser.find_all("#memory circle")) > 500, "six charts are drawn")
    check(browser.run("return document.documentElement.scrollWidth <= innerWidth"), "the page is not wider than the window")
    shots = {}
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        shots[scheme] = base64.b64decode(browser.call("GET", "/screenshot"))
        with open(os.path.join(folder, scheme + ".png"), "wb") as file:
            file.write(shots[scheme])
    check(brightness(shots["light"]) > 200 and brightness(shots["dark"]) < 60, "light is light and dark is dark")
    browser.scheme("light")
    sorts(browser)
    filters(browser)
    quiet(browser)
    browser.open(page)
    keyboard(browser)
    names(browser)
    check(base64.b64decode(browser.call("POST", "/print", {})).startswith(b"%PDF"), "it prints")
    browser.call("POST", "/window/rect", {"width": 500, "height": 900})
    check(browser.run("return document.documentElement.scrollWidth <= innerWidth"), "nor on a narrow one")
    quiet(browser)
    # last, for the browser says in the console that it refused
    browser.run("const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)")
    check(browser.run("return window.ran === undefined"), "no other script runs")


def hostile(browser, page):
    browser.open(page)
    check(browser.run("return document.scripts.length") == 2 and browser.run("return document.images.length") == 0, "no markup came from a name")
    check(browser.run("return window.ran === undefined && document.title.startsWith('jobbox report')"), "nothing ran")
    shown = "\n".join(browser.texts("#users tbody th") + browser.texts("#jobs tbody td") + browser.texts("#f-user option") + browser.texts(".legend button"))
    check("<img src=x onerror=window.ran=1>" in shown and "</script><script>window.ran=1</script>" in shown, f"names are shown as they are: {shown}")
    check("__proto__" in shown, "and so are words of the script's language")
    for name in ("f-user", "f-account", "f-reason"):
        for i in range(browser.run(f"return document.getElementById('{name}').options.length")):
            browser.run("const s = document.getElementById(arguments[0]); s.selectedIndex = arguments[1]; s.dispatchEvent(new Event('change'))", name, i)
        browser.click("#filters > button")
    check(browser.run("return window.ran === undefined"), "nothing ran when they were chosen either")
    quiet(browser)


def empty(browser, page):
    browser.open(page)
    check("nothing to show" in browser.texts("main")[0], "an empty page says that it is")
    quiet(browser)


def main():
    kind, page = sys.argv[1:3]
    folder = tempfile.mkdtemp(prefix="page-browser.")
    browser = None
    try:
        browser = Browser(folder)
        if kind == "year":
            year(browser, page, sys.argv[3])
        else:
            {"hostile": hostile, "empty": empty}[kind](browser, page)
    finally:
        if browser:
            browser.close()
        shutil.rmtree(folder, ignore_errors=True)


main()
