#!/usr/bin/python3
"""What is in a page of jobbox report --html, read as a browser would: page_data.py FILE CHECK [ARGUMENT...].

  frame            nothing is loaded from anywhere, and only the page's own style and script are allowed, by their digests
  get EXPRESSION   prints a Python expression of d, the data
  is EXPRESSION    fails unless it is true
  sums JSON        the cells are what jobbox report --by user,account,reason --json says
  busy JOURNAL...  busy cores are what the journals say, computed again for each hour in UTC
"""
import base64
import collections
import datetime
import hashlib
import html.parser
import json
import math
import re
import sys

FIGURES = ["core_hours", "used", "cpu", "mem", "wait", "cost"]


class Parser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.inside = [], collections.defaultdict(list), None

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.inside = (tag, dict(attributes).get("type"))
            self.texts[self.inside].append("")

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[0]:
            self.inside = None

    def handle_data(self, text):
        if self.inside:
            self.texts[self.inside][-1] += text


def fail(text):
    sys.exit(f"page: {text}")


def read(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    parser = Parser()
    parser.feed(text)
    data = parser.texts[("script", "application/json")]
    if len(data) != 1:
        fail(f"{len(data)} blocks of data")
    return text, parser, json.loads(data[0])


def frame(text, parser):
    kinds = collections.Counter(tag for tag, _ in parser.tags)
    if kinds["script"] != 2 or kinds["style"] != 1:
        fail(f"scripts or styles that are not the page's own: {kinds}")
    for tag in ("img", "link", "iframe", "object", "embed", "base", "audio", "video", "source", "image"):
        if kinds[tag]:
            fail(f"<{tag}>")
    for tag, attributes in parser.tags:
        for key, value in attributes.items():
            if key in ("src", "srcset", "action", "data", "style") or key.startswith("on") or (key == "href" and not value.startswith("#")):
                fail(f"<{tag} {key}={value!r}>")
    policy = [a["content"] for tag, a in parser.tags if a.get("http-equiv") == "Content-Security-Policy"]
    digests = {}
    for kind in (("style", None), ("script", None)):
        digest = hashlib.sha256(parser.texts[kind][0].encode()).digest()
        digests[kind[0]] = base64.b64encode(digest).decode()
    wanted = (f"default-src 'none'; style-src 'sha256-{digests['style']}'; script-src 'sha256-{digests['script']}'; "
              "base-uri 'none'; form-action 'none'")
    if policy != [wanted]:
        fail(f"the policy is {policy}, not {wanted}")
    if re.search(r"url\(|@import|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", parser.texts[("style", None)][0] + parser.texts[("script", None)][0]):
        fail("a way for something to be loaded or taken for markup")
    if set(re.findall(r"https?://[^\"' ]*", text)) - {"http://www.w3.org/2000/svg"}:
        fail("an address")
    if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text):
        fail("a control character")


def near(a, b, what):
    if (a is None) != (b is None) or (a is not None and not math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6)):
        fail(f"{what}: {a} in the page, {b} in the report")


def sums(d, rows):
    """The groups of the report from the cells. Unknown figures are left out of both."""
    unknown = collections.Counter()
    for i in range(0, len(d["unknown"]), 3):
        unknown[(d["unknown"][i], d["unknown"][i + 1])] = d["unknown"][i + 2]
    groups = {}
    for i, jobs in enumerate(d["jobs_of"]):
        key = tuple(d[kind][d[kind + "_of"][i]] for kind in ("user", "account", "reason"))
        g = groups.setdefault(key, collections.Counter())
        g["jobs"] += jobs
        for f, name in enumerate(FIGURES):
            if name in d:
                g[name] += d[name][i]
                g[name + "_known"] += jobs - unknown[(i, f)]
        g["cpu_of"] += d["cpu_of"][i]
        g["mem_of"] += d["mem_of"][i]
    if len(groups) != len(rows):
        fail(f"{len(groups)} groups in the page, {len(rows)} in the report")
    for row in rows:
        g = groups.get((row["user"], row["account"], row["reason"]))
        if g is None:
            fail(f"no cell for {row}")
        what = f"{row['user']}, {row['account']}, {row['reason']}"
        near(g["jobs"], row["jobs"], what + ": jobs")
        for name, column in (("core_hours", "core_hours"), ("used", "core_hours_used")):
            near(g[name] if g[name + "_known"] else None, row[column], f"{what}: {column}")
        for name in ("cpu", "mem"):
            near(g[name] / g[name + "_of"] if g[name + "_of"] else None, row[name + "_eff"], f"{what}: {name}_eff")
        near(g["wait"] / g["wait_known"] if g["wait_known"] else None, row["wait"], f"{what}: wait")


def busy(d, journals):
    held = collections.Counter()
    for path in journals:
        with open(path, encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                start, end = (datetime.datetime.fromisoformat(record["times"][k].replace("Z", "+00:00")).timestamp() for k in ("started", "ended"))
                hour = int(start // 3600)
                while hour * 3600 < end:
                    held[hour] += record["granted"]["cores"] * (min(end, hour * 3600 + 3600) - max(start, hour * 3600)) / 3600
                    hour += 1
    checked = 0
    for row, name in enumerate(d["busy_rows"]["names"]):
        day = datetime.datetime.fromisoformat(name + "T00:00:00+00:00").timestamp() // 3600
        for hour in range(24):
            values = [account[row * 24 + hour] for account in d["busy"]]
            if values[0] is None:
                continue
            if abs(sum(values) - held[day + hour]) > 0.01 + 0.01 * held[day + hour]:
                fail(f"{name} {hour}:00: {sum(values)} in the page, {held[day + hour]} in the journals")
            checked += held[day + hour] > 0
    if checked < 24:
        fail("no busy hours")
    rows = d["wide_rows"]["names"]
    users = len(d["user"]) + (d["user_others"] > 0)
    for row, name in enumerate(rows):
        days = [i for i, day in enumerate(d["busy_rows"]["names"]) if day.startswith(name)]
        for hour in range(24):
            values = [[a[i * 24 + hour] for a in d["busy"]] for i in days]
            wanted = sum(sum(v) for v in values if v[0] is not None) / sum(v[0] is not None for v in values)
            for what, groups in (("users", d["wide"][:users]), ("accounts and reasons", d["wide"][users:])):
                got = sum(g[row * 24 + hour] for g in groups if g)
                if abs(got - wanted) > 0.01 * len(groups) + 0.01 * wanted:
                    fail(f"{name} {hour}:00: {got} by {what}, {wanted} in all")
    if d["wide_rows"]["span"] != "month" or len(rows) < 12:
        fail(f"the spans of users are {rows}")


def main():
    text, parser, d = read(sys.argv[1])
    check, arguments = sys.argv[2], sys.argv[3:]
    if check == "frame":
        frame(text, parser)
    elif check == "get":
        print(eval(arguments[0], {"d": d}))
    elif check == "is":
        if not eval(arguments[0], {"d": d}):
            fail(f"not true: {arguments[0]}")
    elif check == "sums":
        with open(arguments[0], encoding="utf-8") as file:
            sums(d, json.load(file)["rows"])
    elif check == "busy":
        busy(d, arguments)
    else:
        fail(f"no such check: {check}")


main()
