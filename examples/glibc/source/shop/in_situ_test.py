"""Tests the shop that serves at UPWELL_ADDRESS; runs in the very image that is tested."""

import json
import os
import unittest
import urllib.request

from glibc import glibc_package


class Shop(unittest.TestCase):
    def test_it_greets_and_runs_on_the_glibc_of_this_image(self):
        with urllib.request.urlopen(os.environ["UPWELL_ADDRESS"], timeout=10) as answer:
            found = json.load(answer)
        self.assertTrue(found["greeting"].startswith("Welcome"), found)
        self.assertEqual(found["glibc"], glibc_package())


unittest.main(verbosity=2)
