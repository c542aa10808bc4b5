#!/usr/bin/env python3
"""Asks a Prometheus everything that our dashboard and our alerts ask, and names what it knows nothing of.

    queries.py http://127.0.0.1:9090 config/monitoring/dashboard.json

An alert that does not fire has no answer: of its query every metric is asked instead.
"""

import json
import re
import sys
import urllib.parse
import urllib.request


def ask(base, path, **parameters):
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def is_known(base, query):
    return bool(ask(base, "query", query=query)["result"])


def main(base, dashboard):
    panels = json.load(open(dashboard, encoding="utf-8"))["panels"]
    queries = {line["expr"]: panel["title"] for panel in panels for line in panel.get("targets", [])}
    rules = [rule for group in ask(base, "rules")["groups"] for rule in group["rules"]]
    unwell = [f"alert {rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] != "ok"]
    for rule in rules:
        for metric in re.findall(r"\b(?:landfall|process)_\w+|\bup\b", rule["query"]):
            queries.setdefault(f"count({metric})", f"alert {rule['name']}")
    silent = [f"{who}: no data for {query}" for query, who in queries.items() if not is_known(base, query)]
    for line in unwell + silent:
        print(line)
    if not unwell and not silent:
        print(f"{len(queries)} queries of {len(panels)} panels and {len(rules)} alerts: each has data")
    return bool(unwell or silent)


sys.exit(main(*sys.argv[1:]))
