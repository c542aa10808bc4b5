#!/usr/bin/env python3
"""A preprocessor of mdBook: links out of docs, to what is no page of the book, lead to the repository instead."""

import json
import posixpath
import re
import sys

LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#]+)")


def turned(chapter, repository):
    folder = posixpath.join("docs", posixpath.dirname(chapter["path"]))

    def lead(found):
        path = posixpath.normpath(posixpath.join(folder, found[1]))
        return found[0] if path.startswith("docs/") else f"]({repository}/blob/main/{path}"

    return LINK.sub(lead, chapter["content"])


def turn(items, repository):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter and chapter["path"]:
            chapter["content"] = turned(chapter, repository)
            turn(chapter["sub_items"], repository)


if sys.argv[1:2] == ["supports"]:
    sys.exit(0)
context, book = json.load(sys.stdin)
turn(book.get("items") or book.get("sections"), context["config"]["output"]["html"]["git-repository-url"].rstrip("/"))
json.dump(book, sys.stdout)
