"""Formats of texts in objects: each function returns what is wrong with a text, or nothing.

Source: k8s.io/apimachinery `pkg/util/validation`.
"""

import ipaddress
import re

from upwell.api.validation.labels import is_label_key, is_label_value, is_variable_name

MAX_LABEL = 63
MAX_SUBDOMAIN = 253
MAX_PORT = 65535

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_MAX_PORT_NAME = 15
_HEADER = re.compile(r"[-A-Za-z0-9]+")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def label_problem(text: str) -> str:
    """Check a lower-case RFC 1123 label, of 63 characters at most."""
    if len(text) > MAX_LABEL:
        return f"must be no more than {MAX_LABEL} characters"
    if _LABEL.fullmatch(text) is None:
        return (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
            "and must start and end with an alphanumeric character"
        )
    return ""


def service_name_problem(text: str) -> str:
    """Check an RFC 1035 label, which begins with a letter."""
    if len(text) > MAX_LABEL:
        return f"must be no more than {MAX_LABEL} characters"
    if _LABEL_1035.fullmatch(text) is None:
        return (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start "
            "with an alphabetic character, and end with an alphanumeric character"
        )
    return ""


def subdomain_problem(text: str) -> str:
    """Check a lower-case RFC 1123 subdomain: labels with dots between."""
    if len(text) > MAX_SUBDOMAIN:
        return f"must be no more than {MAX_SUBDOMAIN} characters"
    if _SUBDOMAIN.fullmatch(text) is None:
        return (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character"
        )
    return ""


def qualified_name_problem(text: str) -> str:
    """Check a name with an optional prefix: the key of a label, a finalizer."""
    if is_label_key(text):
        return ""
    return (
        "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must "
        "start and end with an alphanumeric character, with an optional DNS subdomain prefix and "
        "'/' (e.g. 'example.com/MyName')"
    )


def label_value_problem(text: str) -> str:
    """Check the value of a label."""
    if is_label_value(text):
        return ""
    return (
        "a valid label must be an empty string or consist of at most 63 alphanumeric characters, "
        "'-', '_' or '.', and must start and end with an alphanumeric character"
    )


def variable_problem(text: str) -> str:
    """Check the name of an environment variable, by the rule before Kubernetes 1.32's wider one."""
    if is_variable_name(text):
        return ""
    return (
        "a valid environment variable name must consist of alphabetic characters, digits, '_', "
        "'-', or '.', and must not start with a digit"
    )


def port_name_problem(text: str) -> str:
    """Check an IANA service name."""
    if len(text) > _MAX_PORT_NAME:
        return f"must be no more than {_MAX_PORT_NAME} characters"
    if _PORT_NAME.fullmatch(text) is None:
        return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if "--" in text:
        return "must not contain consecutive hyphens"
    if not any(character.isalpha() for character in text):
        return "must contain at least one letter (a-z)"
    return ""


def port_problem(number: int) -> str:
    """Check the number of a port."""
    return "" if 0 < number <= MAX_PORT else f"must be between 1 and {MAX_PORT}, inclusive"


def header_problem(text: str) -> str:
    """Check the name of an HTTP header."""
    if _HEADER.fullmatch(text) is None:
        return "a valid HTTP header must consist of alphanumeric characters or '-'"
    return ""


def data_key_problem(text: str) -> str:
    """Check a key of a Secret or ConfigMap: it becomes the name of a file."""
    if len(text) > MAX_SUBDOMAIN:
        return f"must be no more than {MAX_SUBDOMAIN} characters"
    if _DATA_KEY.fullmatch(text) is None:
        return "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    if text == "." or text.startswith(".."):
        return "must not be '.' and must not start with '..'"
    return ""


def address_problem(text: str) -> str:
    """Check an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    return ""


def has_backsteps(path: str) -> bool:
    """Return True for a path that has `..` among its parts.

    One that would stay inside counts too: what it means depends on links.
    """
    return ".." in path.split("/")


def is_below(path: str) -> bool:
    """Return True for the path of something in the folder that it is relative to."""
    named = any(part not in {"", "."} for part in path.split("/"))
    return named and not path.startswith("/") and not has_backsteps(path) and "\0" not in path


def no_backsteps_problem(text: str) -> str:
    """Check a path that has no `..` among its parts."""
    return "must not contain '..'" if has_backsteps(text) else ""


def relative_path_problem(text: str) -> str:
    """Check a path below the folder that it is relative to."""
    if text.startswith("/"):
        return "must be a relative path"
    return no_backsteps_problem(text)


def volume_path_problem(text: str) -> str:
    """Check the path of a file in a volume, where names with `..` before them are the server's."""
    if text.startswith(".."):
        return "must not start with '..'"
    return relative_path_problem(text)


_PATH_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[^/%\x00-\x1f]+")


def path_segment_problem(name: str) -> str:
    """Check a name that stands in paths of the API, and has no other rules."""
    if len(name) > MAX_SUBDOMAIN:
        return f"must be no more than {MAX_SUBDOMAIN} characters"
    if _PATH_SEGMENT.fullmatch(name) is None:
        return "must not be '.' or '..', nor contain '/' or '%'"
    return ""
