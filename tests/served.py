"""A server of the bundled model for a test: `mimo serve` on free ports, stopped at the end."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time


def skip(why):
    """Exit status 77 where something is not installed; a failure where CI says that all of it is."""
    in_ci = os.environ.get("CI") == "true"
    print(f"{why}: {'expected it in CI' if in_ci else 'skipped'}", flush=True)
    sys.exit(1 if in_ci else 77)


class Served:
    def __init__(self, binaries, source, *more):
        self.mimo = str(pathlib.Path(binaries) / "mimo")
        self._folder = tempfile.TemporaryDirectory()
        ready = pathlib.Path(self._folder.name) / "ready.json"
        if "--http-listen" not in more:
            more += ("--http-listen", "127.0.0.1:0")
        self._process = subprocess.Popen(
            [self.mimo, "serve", "--model", str(pathlib.Path(source) / "models/tiny"),
             "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-folder",
             self._folder.name, "--ready-file", str(ready), *map(str, more)],
            stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError("the server did not start: " + self._process.communicate()[1])
            time.sleep(0.05)
        self.ready = json.loads(ready.read_text())

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        said = self._process.communicate(timeout=60)[1]
        self._folder.cleanup()
        if self._process.returncode != 0:
            raise RuntimeError(f"the server ended with {self._process.returncode}: {said}")
