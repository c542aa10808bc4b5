#!/usr/bin/env python3
"""Asks a Prometheus what the panels of our dashboard showed, second by second, and prints it for hack/pictures.py.

    ranges.py http://127.0.0.1:9090 config/monitoring/dashboard.json target/pictures/marks

The third file says what happened when, a line each: seconds since 1970, and words. The first line is the beginning.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

# A run is minutes long: what the dashboard looks at over five minutes is looked at over fifteen seconds.
WINDOW = ("[5m]", "[15s]")


def ask(base, **parameters):
    url = f"{base}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def legend(template, labels, title):
    if template == "__auto":
        return title
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template).strip()


def lines(base, panel, start, end):
    found = []
    for target in panel["targets"]:
        for series in ask(base, query=target["expr"].replace(*WINDOW), start=start, end=end, step=1):
            points = [[round(float(at) - start), float(value)] for at, value in series["values"]]
            name = legend(target["legendFormat"], series["metric"], panel["title"])
            found.append({"name": name, "points": [[at, value] for at, value in points if value == value]})
    return found


def main(base, dashboard, marks):
    with open(marks, encoding="utf-8") as file:
        happened = [line.rstrip("\n").split(" ", 1) for line in file]
    start, end = int(float(happened[0][0])), int(time.time())
    rows = []
    with open(dashboard, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    for panel in panels:
        if panel["type"] == "row":
            rows.append({"title": panel["title"], "panels": []})
            continue
        rows[-1]["panels"].append({
            "title": panel["title"], "kind": panel["type"], "unit": panel["fieldConfig"]["defaults"]["unit"],
            "lines": lines(base, panel, start, end),
        })
    marked = [[round(float(at) - start), words] for at, words in happened[1:]]
    json.dump({"seconds": end - start, "marks": marked, "rows": rows}, sys.stdout)


main(*sys.argv[1:])
