"""The rows of docs/http.md as bytes to send, and what of the backend's request to show for each.

A sample is (label, request, what to show). Shown can be: "target", "version", "body", "route", or a field's name.
"""

HOST = b"Host: localhost\r\n"
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


def get(target, fields=HOST, version=b"HTTP/1.1", method=b"GET"):
    return method + b" " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def paths(*targets):
    return [(target.decode("latin-1"), get(target), ["route", "target"]) for target in targets]


def fields(*lines, show=None):
    return [(line.decode(), get(b"/", HOST + line + b"\r\n"), [show or line.split(b":")[0].decode()])
            for line in lines]


def chunked(*bodies):
    head = get(b"/", HOST + b"Transfer-Encoding: chunked\r\n", method=b"POST")
    return [(body.split(b"\r\n")[0].decode(), head + body + b"\r\n0\r\n\r\n", ["content-length", "body"])
            for body in bodies]


def absolute(target, host):
    return (f"{target.decode()}, Host: {host.decode()}", get(target, b"Host: " + host + b"\r\n"), ["target", "host"])


ROWS = [
    ("`//a`, `/./a`, `/x/../a`, `/%61`", paths(b"//a", b"/./a", b"/x/../a", b"/%61")),
    ("`/%2e%2e/a`", paths(b"/%2e%2e/a", b"/x/%2e%2e/a")),
    ("`%2F`, `%5C` in a path", paths(b"/x%2Fa", b"/a%2Fb", b"/a%5Cb")),
    ("`\\`, `%00`, …", paths(b"/x\\a", b"/a%00", b"/a%01", b"/a%zz", b"/a%", b"/%c0%af")),
    ("`/;x/a`, `/a;x`", paths(b"/;x/a", b"/a;x")),
    ("`/x/..;/a`", paths(b"/x/..;/a")),
    ("`%3F`, `%23`, `%3B` in a path", paths(b"/a%3Fb", b"/a%23b", b"/a%3Bb")),
    ("bytes outside ASCII, or `#`, in a target", paths(b"/\xc3\xa9", b"/a#b")),
    ("same authority in target and Host", [absolute(b"http://localhost/", b"localhost:80"),
                                           absolute(b"http://localhost:80/", b"localhost")]),
    ("another authority in the target", [absolute(b"http://b/", b"localhost")]),
    ("`HTTP/1.2`", [("HTTP/1.2", get(b"/", version=b"HTTP/1.2"), ["version"]),
                    ("HTTP/1.9", get(b"/", version=b"HTTP/1.9"), ["version"])]),
    ("`Host: a.example.`", [("a.example", get(b"/", b"Host: a.example\r\n"), ["route", "host"]),
                            ("a.example.", get(b"/", b"Host: a.example.\r\n"), ["route", "host"])]),
    ("twins", fields(b"Content_Length: 5", b"Transfer_Encoding: chunked", b"X_Real_IP: 192.0.2.1",
                     b"X_Forwarded_For: 192.0.2.1")),
    ("other names with underscores", fields(b"my_field: 1")),
    ("`Proxy-Authorization`", fields(b"Proxy-Authorization: Basic YTpi")),
    ("`Proxy-Authenticate` in a response", [("challenge", get(b"/challenge"), ["response-fields"])]),
    ("`Expect: 100-continue`", [
        ("wanted", get(b"/", HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n", method=b"POST"),
         ["expect", "body", "wait-for-100"]),
        ("unwanted", get(b"/unwanted", HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n", method=b"POST"),
         ["expect", "wait-for-100"])]),
    ("another `Expect`", fields(b"Expect: 200-maybe")),
    ("`Upgrade: websocket` without a valid key, or not by GET", [
        ("valid", get(b"/ws", HOST + UPGRADE + KEY), ["upgrade"]),
        ("no key", get(b"/ws", HOST + UPGRADE + b"Sec-WebSocket-Version: 13\r\n"), ["upgrade"]),
        ("short key", get(b"/ws", HOST + UPGRADE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YQ==\r\n"),
         ["upgrade"]),
        ("by POST", get(b"/ws", HOST + UPGRADE + KEY + b"Content-Length: 0\r\n", method=b"POST"), ["upgrade"])]),
    ("`Upgrade: h2c`", [("h2c", get(b"/", HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                                    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"), ["upgrade", "http2-settings"])]),
    ("`5;a=b` as a chunk's size", chunked(b"5;a=b\r\nhello")),
    ("`5;`, `5;bad[=x`, `5;a=`", chunked(b"5;\r\nhello", b"5;bad[=x\r\nhello", b"5;a=\r\nhello")),
    ("`103 Early Hints`", [("HTTP/1.1", get(b"/early"), [])]),
    ("`103` to HTTP/2", [("HTTP/2", "http2 /early", [])]),
    ("`101` without accept, or a wrong one", [("none", get(b"/ws/none", HOST + UPGRADE + KEY), []),
                                             ("wrong", get(b"/ws/wrong", HOST + UPGRADE + KEY), [])]),
    ("a FIN while the client waits", [("FIN", get(b"/slow"), ["half-close"])]),
    ("a slow request body", [("1 byte/s", get(b"/", HOST + b"Content-Length: 1000\r\n", method=b"POST"), ["drip"])]),
]
