"""A kubelet for the double: containers are commands of this machine, whatever their image."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress

from tests.k8s.double import Double
from tests.k8s.store import Thing


class Kubelet:
    """Runs the container of every Job that the double is given."""

    def __init__(self, double: Double) -> None:
        self._double = double
        double.behave = self._run

    def _run(self, job: Thing) -> None:
        double = self._double
        pod = double.schedule(job)
        container = job["spec"]["template"]["spec"]["containers"][0]
        words = [word.replace("$$(", "$(") for word in (*container.get("command", ()), *container.get("args", ()))]
        env = {"PATH": os.defpath} | {
            item["name"]: item.get("value", "").replace("$$(", "$(") for item in container.get("env", ())
        }
        process = subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        double.run(pod)
        ending = threading.Thread(target=self._end, args=(pod, process), daemon=True)
        ending.start()
        assert process.stdout is not None
        for line in process.stdout:
            double.say(pod, line.rstrip("\n"))
        code = process.wait()
        code = 128 - code if code < 0 else code
        if self._told_to_end(pod):
            double.gone(pod, code)
        else:
            double.exit(pod, code)

    def _end(self, pod: str, process: subprocess.Popen[str]) -> None:
        """TERM for the container once its pod is deleted."""
        self._double.wait(lambda: process.poll() is not None or self._told_to_end(pod), patience_s=3600)
        with suppress(ProcessLookupError):
            process.terminate()

    def _told_to_end(self, pod: str) -> bool:
        found = [each for each in self._double.all("pods") if each["metadata"]["name"] == pod]
        return not found or "deletionTimestamp" in found[0]["metadata"]
