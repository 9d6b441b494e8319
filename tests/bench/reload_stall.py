#!/usr/bin/env python3
"""How long a reload holds up a thread of Odin: one client sends one request after the other, and the longest is kept.

The thread that answers has a core for itself: the worker, or with --admin the main thread, which then answers /healthz.
The client, nginx as the upstream, and all other threads of Odin share the other core. The thread, the client and nginx
run with real-time priority, so that what is measured is Odin's work and not the turns that the kernel gives to others.
Between two requests the client pauses: a thread of Odin that holds a lock of the kernel must get to its end. root, two cores and nginx. Prints rows of a Markdown table.

    tests/bench/reload_stall.py [--clusters N] [--routes N] [--used] [--limits] [--admin] target/release/odin
"""

import argparse
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import tempfile
import time

OTHERS, ALONE = {0}, {1}
PAUSE = 200e-6
PORT, UPSTREAM = 18080, 18081
REALTIME = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
NGINX = """worker_processes 1; worker_rlimit_nofile 60000; daemon off; pid {0}/nginx.pid; error_log /dev/null;
events {{ worker_connections 50000; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 1h;
server {{ listen 127.0.0.1:{1} backlog=4096; return 200 "ok"; }} }}"""


def config(options, changed=0, connect=3):
    """So many of the clusters are changed."""
    yield 'workers = 1\nadmin = "off"\nsteering = "bind"\n[access-log]\nenabled = false\n'
    yield f'[timeouts]\nconnect = "{connect}s"\n'
    yield f'[[listeners]]\nname = "web"\naddress = "127.0.0.1:{PORT}"\n'
    for n in range(options.routes):
        yield f'[[listeners.routes]]\nhost = "h{n}.example.com"\ncluster = "c{n % options.clusters}"\n'
    for n in range(options.clusters):
        weight = 2 if n < changed else 1
        yield f'[clusters.c{n}]\nendpoints = [{{ address = "127.0.0.1:{UPSTREAM}", weight = {weight} }}]\n'


class Client:
    def __init__(self, family, address, path):
        self.path = path
        self.socket = socket.socket(family)
        self.socket.connect(address)

    def get(self, host):
        """Asks for the route of a host; answers how many seconds it took."""
        request = f"GET {self.path} HTTP/1.1\r\nhost: h{host}.example.com\r\n\r\n".encode()
        begin = time.perf_counter()
        self.socket.sendall(request)
        answer = self.socket.recv(4096)
        took = time.perf_counter() - begin
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return took


class Odin:
    def __init__(self, folder, options):
        self.file, self.log = folder / "odin.toml", folder / "odin.log"
        self.write(config(options))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([options.binary, "-f", self.file], stdout=log, stderr=log)
        os.setpriority(os.PRIO_PROCESS, self.process.pid, -15)
        while "odin: ready" not in self.log.read_text():
            time.sleep(0.05)
        name = "odin\n" if options.admin else "worker-0\n"
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            alone = (task / "comm").read_text() == name
            os.sched_setaffinity(int(task.name), ALONE if alone else OTHERS)
            if alone:
                os.sched_setscheduler(int(task.name), REALTIME, os.sched_param(50))

    def write(self, text):
        new = self.file.with_suffix(".new")
        new.write_text("".join(text))
        new.rename(self.file)

    def client(self, admin):
        if admin:
            return Client(socket.AF_UNIX, f"/run/odin/{self.process.pid}.sock", "/healthz")
        return Client(socket.AF_INET, ("127.0.0.1", PORT), "/")

    def reloads(self):
        return self.log.read_text().count("odin: reloaded")


def longest(client, odin, reload):
    """The longest request from the order to reload until the worker has ticked thrice after it; how long that took."""
    before, begin, looked, over, worst = odin.reloads(), time.monotonic(), 0, None, 0
    if reload:
        odin.process.send_signal(signal.SIGHUP)
    else:
        over = begin
    while over is None or time.monotonic() < over + 3:
        worst = max(worst, client.get(0))
        time.sleep(PAUSE)
        if over is None and time.monotonic() > looked + 0.05:
            looked = time.monotonic()
            over = looked if odin.reloads() > before else None
    return worst * 1e3, (over - begin) * 1e3


def measure(odin, options):
    client = odin.client(options.admin)
    cases = {"calm": None, "no change": lambda n: {}, "one cluster": lambda n: {"changed": n % 2}}
    cases["1,000 clusters"] = lambda n: {"changed": n % 2 * 1000}
    if options.limits:
        cases = {"calm": None, "a timeout": lambda n: {"connect": 3 + n % 2}}
    for case, change in cases.items():
        rounds = []
        for number in range(1, options.rounds + 1):
            for host in range(options.clusters if options.used else 1):
                client.get(host)
            if change:
                odin.write(config(options, **change(number)))
            rounds.append(longest(client, odin, change))
        worst, took = zip(*rounds)
        median = statistics.median
        print(f"| {case} | {median(worst):.2f} ms | {max(worst):.2f} ms | {median(took):.0f} ms |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--clusters", type=int, default=10_000)
    parser.add_argument("--routes", type=int, help="as many as clusters unless given")
    parser.add_argument("--used", action="store_true", help="each route is asked for before each measurement")
    parser.add_argument("--limits", action="store_true", help="what changes is a timeout, which concerns all pools")
    parser.add_argument("--admin", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.routes = options.routes or options.clusters
    os.sched_setaffinity(0, OTHERS)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "nginx.conf").write_text(NGINX.format(folder, UPSTREAM))
        nginx = subprocess.Popen(["chrt", "-f", "50", "nginx", "-c", folder / "nginx.conf"])
        odin = Odin(folder, options)
        try:
            os.sched_setscheduler(0, REALTIME, os.sched_param(50))
            measure(odin, options)
        finally:
            odin.process.kill()
            nginx.terminate()
            nginx.wait()


main()
