"""Serves at port 8080 until it is asked to stop."""

import os
import signal
import threading

from greeter.web import server


def main():
    serving = server("0.0.0.0", int(os.environ.get("PORT", "8080")))  # noqa: S104 - in a container
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=serving.shutdown).start())
    serving.serve_forever()


main()
