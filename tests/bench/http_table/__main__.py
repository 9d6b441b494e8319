"""Sends each row of docs/http.md to Odin, nginx, HAProxy and Envoy, and prints what client and backend saw.

    python3 tests/bench/http_table [--only TEXT] [--proxies Odin,nginx]

It prints; the table itself is written by hand, in few words. Peers are installed by tests/bench/setup.sh.
"""

import argparse
import re
import shutil
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backend import Backends
from peers import CONFIGS, ROUTES, Proxy, version
from rows import ROWS

PATIENCE = 3
# Longer than the 20 s that Odin gives a body before it asks for a rate.
DRIP = 30


def receive(stream, patience=PATIENCE, want_interim=False):
    """Statuses and fields of the responses that came, up to the final one; then whether the connection ended."""
    stream.settimeout(patience)
    data, statuses = b"", []
    try:
        while True:
            while b"\r\n\r\n" not in data:
                more = stream.recv(65536)
                if not more:
                    return statuses or ["closed without an answer"], data
                data += more
            head, rest = data.split(b"\r\n\r\n", 1)
            status = head.split(b" ")[1].decode()
            statuses.append(status)
            if status[0] == "1" and status != "101":
                data = rest
                if want_interim:
                    return statuses, head
                continue
            return statuses, head
    except TimeoutError:
        return statuses + [f"nothing for {patience} s"], data
    except ConnectionResetError:
        return statuses + ["reset"], data


def is_closed(stream):
    stream.settimeout(0.3)
    try:
        while True:
            if stream.recv(65536) == b"":
                return True
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)


def ask(proxy, request, show, backends):
    if isinstance(request, str):
        return http2(proxy, request.split()[1])
    with socket.create_connection(("127.0.0.1", proxy.port)) as stream:
        if "drip" in show:
            return drip(stream, request)
        stream.sendall(request)
        if "half-close" in show:
            wait_for(lambda: backends.seen)
            stream.shutdown(socket.SHUT_WR)
        if "wait-for-100" in show:
            return expect(stream)
        statuses, head = receive(stream)
        said = ", ".join(statuses)
        if "response-fields" in show:
            names = re.findall(rb"\r\n(proxy-[^:]+):", head, re.I)
            return f"{said} with {b', '.join(names).decode() or 'no such field'}"
        return said + (" and closes" if statuses[-1][0] in "45" and is_closed(stream) else "")


def expect(stream):
    statuses, _ = receive(stream, want_interim=True)
    if statuses[-1] == "100":
        stream.sendall(b"hi")
        statuses += receive(stream)[0]
    return ", ".join(statuses)


def drip(stream, request):
    stream.sendall(request)
    begin = time.monotonic()
    while time.monotonic() - begin < DRIP:
        try:
            stream.sendall(b"x")
            statuses, _ = receive(stream, patience=1)
        except OSError:
            statuses = ["reset"]
        if "nothing" not in statuses[-1]:
            return f"{', '.join(statuses)} after {time.monotonic() - begin:.0f} s"
    return f"still reads after {DRIP} s"


def http2(proxy, path):
    """By prior knowledge."""
    tool = shutil.which("nghttp")
    if not tool:
        return "nghttp is not installed: tests/bench/setup.sh"
    command = [tool, "-nv", f"http://127.0.0.1:{proxy.http2}{path}"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = ""
    try:
        said, _ = run.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        run.kill()
        said, _ = run.communicate()
        end = f", and no end for {PATIENCE} s"
    return (", ".join(re.findall(r":status: (\d+)", said)) or f"no answer: {said}") + end


def shown(record, show):
    route, data = record
    head, body = data.split(b"\r\n\r\n", 1)
    _, target, http = head.split(b"\r\n")[0].split(b" ", 2)
    values = []
    for what in show:
        if what in ("route", "target", "version", "body"):
            value = {"route": route, "target": target, "version": http, "body": body}[what]
            values.append(value if isinstance(value, str) else ascii(value.decode("latin-1")))
        elif what not in ("wait-for-100", "response-fields", "half-close", "drip"):
            found = re.search(rb"\r\n" + re.escape(what.encode()) + rb": *([^\r]*)", head, re.I)
            values.append(f"{what}: {found[1].decode('latin-1')}" if found else f"no {what}")
    return "; ".join(values)


def measure(proxy, sample, backends):
    _, request, show = sample
    backends.seen.clear()
    backends.ended = None
    said = ask(proxy, request, show, backends)
    if "half-close" in show:
        wait_for(lambda: backends.ended)
        said += f"; the upstream's was {backends.ended or 'left open'}"
    seen = [shown(record, show) for record in backends.seen]
    return f"{said:<24} | {' | '.join(seen) if seen else 'nothing reached the backend'}"


def table(name, rows, folder):
    backends = Backends(ROUTES)
    with Proxy(name, backends.ports, folder) as proxy:
        return {(row, sample[0]): measure(proxy, sample, backends) for row, samples in rows for sample in samples}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="only rows whose name has this text")
    parser.add_argument("--proxies", default=",".join(CONFIGS))
    options = parser.parse_args()
    names = options.proxies.split(",")
    for name in names:
        print(f"{name}: {version(name)}")
    rows = [row for row in ROWS if options.only in row[0]]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        answers = dict(zip(names, pool.map(lambda name: table(name, rows, Path(folder) / name), names)))
    for row, samples in rows:
        print(f"\n{row}")
        for label, *_ in samples:
            print(f"  {label!a}")
            for name in names:
                print(f"    {name:<8} {answers[name][row, label]}")


if __name__ == "__main__":
    main()
