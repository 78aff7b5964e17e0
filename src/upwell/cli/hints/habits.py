"""Commands of other tools, and what does the same here."""

from collections.abc import Mapping

HABITS: Mapping[str, str] = {
    "build": "start-build",
    "check": "doctor",
    "config": "help configuration",
    "deploy": "new-app",
    "events": "get events",
    "images": "get is",
    "inspect": "describe",
    "list": "get",
    "ls": "get",
    "ps": "get pods",
    "pull": "import-image",
    "remove": "delete",
    "restart": "rollout restart",
    "rm": "delete",
    "rollout-undo": "rollout undo",
    "secret": "create secret",
    "show": "describe",
    "start": "serve",
    "stop": "scale",
    "top": "status",
    "undo": "rollout undo",
    "up": "apply",
    "update": "import-image",
    "version": "--version",
    "watch": "get --watch",
}
