"""A backend that records the bytes of each request and answers by the request's path.

The path is compared at its end, since some proxies send what they normalised and some what came.
"""

import base64
import hashlib
import re
import socket
import threading
import time

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </s>; rel=preload\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n%s\r\n"
CHALLENGE = (b"HTTP/1.1 200 OK\r\nproxy-authenticate: Basic\r\nproxy-authentication-info: a=b\r\n"
             b"content-length: 2\r\n\r\nok")
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"
# Longer than a proxy needs to see that its client has gone.
SLOW = 1.5


class Backends:
    """One backend for each route, on ports of their own.

    `seen` collects [route, request bytes]; `ended` says what a request for `/slow` saw while it waited.
    """

    def __init__(self, routes):
        self.ports = {}
        self.seen = []
        self.ended = None
        for route in routes:
            listener = socket.create_server(("127.0.0.1", 0))
            self.ports[route] = listener.getsockname()[1]
            threading.Thread(target=self.accept, args=(route, listener), daemon=True).start()

    def accept(self, route, listener):
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=self.serve, args=(route, stream), daemon=True).start()

    def serve(self, route, stream):
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    more = stream.recv(65536)
                    if not more:
                        return
                    data += more
                data = self.answer(route, stream, data)
                if data is None:
                    return
        except OSError:
            return
        finally:
            stream.close()

    def answer(self, route, stream, data):
        """Answers one request and returns what came after it; None ends the connection."""
        head, rest = data.split(b"\r\n\r\n", 1)
        record = [route, head + b"\r\n\r\n"]
        self.seen.append(record)
        target = head.split(b"\r\n")[0].split(b" ")[1]
        expects = re.search(rb"\r\nexpect: *100-continue", head, re.I)
        if target.endswith(b"/unwanted"):
            stream.sendall(FORBIDDEN)
            return None
        if expects:
            stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
        wanted = (lambda: len(rest) >= int(length[1])) if length else (lambda: rest.endswith(b"0\r\n\r\n"))
        if length or re.search(rb"\r\ntransfer-encoding:", head, re.I):
            while not wanted():
                more = stream.recv(65536)
                if not more:
                    return None
                rest += more
        record[1] += rest
        if route == "websocket":
            stream.sendall(switch(head, target))
            stream.settimeout(0.5)
            return None if not stream.recv(65536) else None
        if target.endswith(b"/slow"):
            stream.settimeout(SLOW)
            try:
                if stream.recv(1) == b"":
                    self.ended = "closed"
                    return None
            except ConnectionResetError:
                self.ended = "reset"
                return None
            except TimeoutError:
                self.ended = "kept"
                stream.settimeout(None)
        if target.endswith(b"/early"):
            stream.sendall(EARLY)
            # A proxy that reads both in one piece might see only the last.
            time.sleep(0.1)
        stream.sendall(CHALLENGE if target.endswith(b"/challenge") else OK)
        return b""


def switch(head, target):
    key = re.search(rb"\r\nsec-websocket-key: *(\S+)", head, re.I)
    if not re.search(rb"\r\nupgrade:", head, re.I):
        return OK
    right = base64.b64encode(hashlib.sha1((key[1] if key else b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    if target.endswith(b"/none"):
        return SWITCH % b""
    return SWITCH % (b"sec-websocket-accept: %s\r\n" % (b"d3Jvbmc=" if target.endswith(b"/wrong") else right))
