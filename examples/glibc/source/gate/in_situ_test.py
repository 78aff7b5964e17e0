"""Tests the gate that serves at UPWELL_ADDRESS."""

import json
import os
import unittest
import urllib.error
import urllib.request


def ask(path):
    address = os.environ["UPWELL_ADDRESS"].rstrip("/")
    try:
        with urllib.request.urlopen(address + path, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class Gate(unittest.TestCase):
    def test_it_answers(self):
        status, answer = ask("/")
        self.assertEqual((status, answer["application"]), (200, "gate"))

    def test_it_knows_the_time_in_every_zone(self):
        for zone in ("Europe/Berlin", "America/New_York", "Asia/Tokyo"):
            with self.subTest(zone):
                status, answer = ask("/time/" + zone)
                self.assertEqual(status, 200, answer)


unittest.main(verbosity=2)
