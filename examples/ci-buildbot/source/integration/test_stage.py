"""Tests of a stage, where it runs: STAGE_URL is its router, STAGE_HOST the host of its Route."""

import json
import os
import unittest
import urllib.error
import urllib.request


def ask(path):
    """Return the status and the document that the stage answers."""
    url = os.environ["STAGE_URL"].rstrip("/") + path
    request = urllib.request.Request(url, headers={"Host": os.environ["STAGE_HOST"]})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


class Stage(unittest.TestCase):
    def test_greets(self):
        self.assertEqual(ask("/?name=Ada"), (200, {"greeting": "Hello, Ada!"}))

    def test_says_what_it_runs_on(self):
        status, document = ask("/about")
        self.assertEqual(status, 200)
        self.assertNotEqual(document["system"], "unknown")
        print(f"runs on {document['system']}, Python {document['python']}")

    def test_refuses_what_it_does_not_know(self):
        self.assertEqual(ask("/nothing")[0], 404)
