"""Unit tests: `python3 -m unittest discover tests`."""

import unittest

from greeter.web import about, greeting


class Greeting(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(greeting(" Ada "), "Hello, Ada!")

    def test_greets_the_world_when_nobody_is_named(self):
        self.assertEqual(greeting(" "), "Hello, world!")


class About(unittest.TestCase):
    def test_names_system_and_python(self):
        self.assertEqual(set(about()), {"system", "python"})
