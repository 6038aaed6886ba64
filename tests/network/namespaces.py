"""Servers each in a network namespace of its own, on one switch whose ports can be pulled out.

Clients reach each server by a second link that is never cut. Root only; who isn't skips.
"""

import itertools
import os
import shutil
import subprocess

import pytest
from servers import Process

PORT = 7333
_made = itertools.count()


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


class Switch:
    """So many namespaces; as a context manager it leaves nothing behind."""

    def __init__(self, count):
        if shutil.which("ip") is None:
            pytest.skip("ip is not installed: apt-get install iproute2")
        if os.geteuid():
            pytest.skip("network namespaces need root")
        name = f"bt{os.getpid() % 100_000}n{next(_made)}"  # 15 letters at most, with what follows
        self.count = count
        self._hub = f"{name}-hub"
        self._places = [f"{name}-{index}" for index in range(count)]
        self._outside = [f"{name}c{index}" for index in range(count)]

    def __enter__(self):
        try:
            ip("netns", "add", self._hub)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace can be made here: {error.stderr}")
        try:
            ip("-n", self._hub, "link", "add", "switch", "type", "bridge")
            ip("-n", self._hub, "link", "set", "switch", "up")
            for index in range(self.count):
                self._plug(index)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for link in self._outside:  # a namespace takes its time to go, with all that is in it
            subprocess.run(["ip", "link", "del", link], check=False, capture_output=True)
        for place in [self._hub, *self._places]:
            subprocess.run(["ip", "netns", "del", place], check=False, capture_output=True)

    def _plug(self, index):
        place, number = self._places[index], index + 1
        ip("netns", "add", place)
        ip("-n", place, "link", "set", "lo", "up")
        link = ["link", "add", f"port{index}", "type", "veth", "peer", "name", "net"]
        ip("-n", self._hub, *link, "netns", place)
        ip("-n", self._hub, "link", "set", f"port{index}", "master", "switch", "up")
        ip("-n", place, "address", "add", f"10.214.0.{number}/24", "dev", "net")
        ip("-n", place, "link", "set", "net", "up")
        outside = self._outside[index]
        ip("link", "add", outside, "type", "veth", "peer", "name", "client", "netns", place)
        ip("address", "add", f"10.213.{number}.1/30", "dev", outside)
        ip("link", "set", outside, "up")
        ip("-n", place, "address", "add", f"10.213.{number}.2/30", "dev", "client")
        ip("-n", place, "link", "set", "client", "up")

    def host(self, index):
        """Where other servers reach it."""
        return f"10.214.0.{index + 1}:{PORT}"

    def server(self, index, folder):
        """A `bserver` in its namespace that trusts all the others."""
        folder = folder / str(index)
        folder.mkdir(exist_ok=True)
        others = [self.host(other) for other in range(self.count) if other != index]
        process = Process(folder, "--host", "0.0.0.0", "--trusted", ", ".join(others), port=PORT)
        process._limit = ["ip", "netns", "exec", self._places[index]]
        return process

    def client(self, index):
        """Where clients reach it, whatever is cut."""
        return f"10.213.{index + 1}.2:{PORT}"

    def pull(self, *indexes):
        """Cut servers off from all others; nobody hears of it."""
        for index in indexes:
            ip("-n", self._hub, "link", "set", f"port{index}", "down")

    def split(self, index, switch):
        """Plug a server into another switch, with who is there."""
        known = subprocess.run(
            ["ip", "-n", self._hub, "link", "show", switch], check=False, capture_output=True
        )
        if known.returncode:
            ip("-n", self._hub, "link", "add", switch, "type", "bridge")
            ip("-n", self._hub, "link", "set", switch, "up")
        ip("-n", self._hub, "link", "set", f"port{index}", "master", switch, "up")

    def heal(self):
        """All on one switch again."""
        for index in range(self.count):
            ip("-n", self._hub, "link", "set", f"port{index}", "master", "switch", "up")
