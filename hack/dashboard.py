#!/usr/bin/env python3
"""Prints config/monitoring/dashboard.json, the dashboard of Grafana, from the list of its panels below."""

import json

# A row, then its panels: title, kind, unit, and what each line or number is (legend, query).
ROWS = [
    ("At a glance", [
        ("Addresses announced", "stat", "short", [("", "max(landfall_addresses_owned_anywhere)")]),
        ("Held and unannounced", "stat", "short", [("", "sum(landfall_addresses_unannounced) or vector(0)")]),
        ("Services waiting", "stat", "short", [("", "sum(landfall_services_pending) or vector(0)")]),
        ("Foreign hosts at our addresses", "stat", "short", [("", "sum(landfall_conflicts)")]),
        ("Announcers with a session", "stat", "short", [("", "max(landfall_sessions_live)")]),
        ("Controllers that lead", "stat", "short", [("", "sum(landfall_leader)")]),
    ]),
    ("Pools", [
        ("Addresses in use", "timeseries", "percentunit", [
            ("{{pool}} {{family}}", "1 - sum by (pool, family) (landfall_pool_addresses_available)"
             " / sum by (pool, family) (landfall_pool_addresses)"),
        ]),
        ("Assigned and reserved", "timeseries", "short", [
            ("{{pool}} {{family}} assigned", "sum by (pool, family) (landfall_pool_addresses_assigned)"),
            ("{{pool}} {{family}} reserved", "sum by (pool, family) (landfall_pool_addresses_reserved)"),
        ]),
        ("From the wish to the address", "timeseries", "s", [
            ("p50", "histogram_quantile(0.5, sum by (le) (rate(landfall_allocation_latency_seconds_bucket[5m])))"),
            ("p99", "histogram_quantile(0.99, sum by (le) (rate(landfall_allocation_latency_seconds_bucket[5m])))"),
        ]),
    ]),
    ("Owners", [
        ("Addresses by node", "timeseries", "short", [("{{node}}", "sum by (node) (landfall_addresses_owned)")]),
        ("Ownerships taken", "timeseries", "short", [
            ("{{reason}}", "sum by (reason) (increase(landfall_transitions_total[5m]))"),
        ]),
        ("Silence before a takeover", "timeseries", "s", [
            ("p50", "histogram_quantile(0.5, sum by (le) (increase(landfall_takeover_seconds_bucket[1h])))"),
            ("p99", "histogram_quantile(0.99, sum by (le) (increase(landfall_takeover_seconds_bucket[1h])))"),
        ]),
        ("Peers heard", "timeseries", "short", [("{{node}}", "sum by (node) (landfall_peers_heard)")]),
        ("Lateness of the heartbeats", "timeseries", "s", [
            ("{{node}}", "max by (node) (landfall_heartbeats_late_seconds)"),
        ]),
        ("Time left of the session", "timeseries", "s", [
            ("{{node}}", "min by (node) (landfall_session_remaining_seconds)"),
        ]),
    ]),
    ("On the wire", [
        ("Answers", "timeseries", "pps", [
            ("{{node}} {{protocol}}", "sum by (node, protocol) (rate(landfall_frames_answered_total[5m]))"),
        ]),
        ("Frames left unanswered", "timeseries", "pps", [
            ("{{reason}}", "sum by (reason) (rate(landfall_frames_ignored_total[5m]))"),
        ]),
        ("Heartbeats", "timeseries", "pps", [
            ("{{node}} sent", "sum by (node) (rate(landfall_heartbeats_sent_total[5m]))"),
            ("{{node}} heard", "sum by (node) (rate(landfall_heartbeats_heard_total[5m]))"),
        ]),
    ]),
    ("Traffic by XDP", [
        ("Packets by verdict", "timeseries", "pps", [
            ("{{verdict}}", "sum by (verdict) (rate(landfall_director_packets_total[5m]))"),
        ]),
        ("Frontends programmed", "timeseries", "short", [
            ("{{node}}", "sum by (node) (landfall_director_frontends)"),
        ]),
        ("Frontends left to the kernel", "timeseries", "short", [
            ("{{node}}", "sum by (node) (landfall_director_refused)"),
        ]),
    ]),
    ("What it costs", [
        ("Processor", "timeseries", "percentunit", [
            ("{{job}} {{node}}", "sum by (job, node) (rate(process_cpu_seconds_total{job=~\"(.*/)?landfall-.*\"}[5m]))"),
        ]),
        ("Memory", "timeseries", "bytes", [
            ("{{job}} {{node}}", "sum by (job, node) (process_resident_memory_bytes{job=~\"(.*/)?landfall-.*\"})"),
        ]),
        ("Versions", "timeseries", "short", [
            ("{{version}} {{revision}}", "count by (version, revision) (landfall_build_info)"),
        ]),
    ]),
]

WIDTH = 24


def panel(number, title, kind, unit, lines, place):
    source = {"type": "prometheus", "uid": "${datasource}"}
    made = {
        "id": number, "title": title, "type": kind, "datasource": source, "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "expr": query, "legendFormat": legend or "__auto", "datasource": source}
            for at, (legend, query) in enumerate(lines)
        ],
    }
    if kind == "stat":
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"}
    return made


def panels():
    made, top = [], 0
    for row, members in ROWS:
        made.append({
            "id": len(made) + 1, "title": row, "type": "row", "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        })
        top += 1
        a_line = min(len(members), 6 if members[0][1] == "stat" else 3)
        high = 4 if members[0][1] == "stat" else 8
        for at, (title, kind, unit, lines) in enumerate(members):
            place = {"x": at % a_line * (WIDTH // a_line), "y": top + at // a_line * high, "w": WIDTH // a_line, "h": high}
            made.append(panel(len(made) + 1, title, kind, unit, lines, place))
        top += -(-len(members) // a_line) * high
    return made


print(json.dumps({
    "title": "Landfall", "uid": "landfall", "tags": ["landfall"], "editable": True, "schemaVersion": 39,
    "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser", "panels": panels(),
    "templating": {"list": [{
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
    }]},
}, indent=2))
