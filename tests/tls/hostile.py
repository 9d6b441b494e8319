"""A client of TLS that misbehaves behind the ClientHello, where bytes alone do not get: with the keys of the session.

Arguments: the port, and then names of cases (all, if there is none). Prints a line of JSON for each: the name, and what came of it:
`served`, `alert NAME`, `closed`, or `hangs`.
"""

import json
import os
import socket
import sys

import tlslite.keyexchange
import tlslite.tlsconnection
from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import AlertDescription, AlertLevel, ContentType, HandshakeType
from tlslite.errors import TLSError, TLSLocalAlert, TLSRemoteAlert
from tlslite.messages import Alert, ApplicationData, ClientHello, Finished, KeyUpdate

PATIENCE = 10
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
VERSIONS = {"1.2": (3, 3), "1.3": (3, 4)}


def connected(version, groups=None):
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = VERSIONS[version]
    if groups:
        settings.eccCurves = settings.keyShares = groups
        settings.defaultCurve = groups[0]
    conn = TLSConnection(socket.create_connection(("127.0.0.1", PORT), PATIENCE))
    conn.closeSocket = True
    conn.handshakeClientCert(settings=settings, serverName="localhost", alpn=[b"http/1.1"])
    return conn


def send(conn, message):
    for _ in conn._sendMsg(message):
        pass


def get(conn):
    conn.write(GET)
    answer = conn.read(max=12)
    while conn.read(max=65536):
        pass
    if not answer:
        return "closed"
    return "served" if bytes(answer) == b"HTTP/1.1 200" else "answered " + bytes(answer).decode("latin-1")


def end(conn):
    """What the server says to what was sent."""
    while conn.read(max=65536):
        pass
    return "closed"


def raw(record):
    """These bytes in the place of a record, in a session whose keys are known."""
    def case(version):
        conn = connected(version)
        conn.sock.sendall(record)
        return end(conn)
    return case


def message(make, times=1):
    """A message that does not belong there, well encrypted."""
    def case(version):
        conn = connected(version)
        for _ in range(times):
            send(conn, make())
        return get(conn)
    return case


def hello():
    return ClientHello().create((3, 3), bytearray(32), bytearray(0), [0x1301, 0xC02B])


def key_update(request):
    return lambda: KeyUpdate().create(request)


def new_keys(times):
    """Key updates as they should be: the client goes on with new keys, and asks the server to do the same."""
    def case(version):
        conn = connected(version)
        for _ in range(times):
            for _ in conn.send_keyupdate_request(1):
                pass
        return get(conn)
    return case


def alert(description, level=AlertLevel.warning):
    return lambda: Alert().create(description, level)


def data(content=b""):
    return lambda: ApplicationData().create(bytearray(content))


def patched(where, name, value, *, groups=None):
    """A handshake in which one of the client's own steps is another."""
    def case(version):
        before = getattr(where, name)
        setattr(where, name, value(before))
        try:
            return get(connected(version, groups))
        finally:
            setattr(where, name, before)
    return case


def share(content):
    """The client's public key."""
    return lambda before: lambda *_: bytearray(content)


def flipped_finished(before):
    def made(*args, **kwargs):
        key = before(*args, **kwargs)
        label = kwargs.get("label") or (args[3] if len(args) > 3 else b"")
        if label == b"client finished":
            key[0] ^= 1
        return key
    return made


def half_a_record(version):
    conn = connected(version)
    conn.sock.sendall(b"\x17\x03\x03\x01\x00" + os.urandom(100))
    conn.sock.shutdown(socket.SHUT_WR)
    return end(conn)


def silence_after_half_a_record(version):
    conn = connected(version)
    conn.sock.sendall(b"\x17\x03\x03\x01\x00" + os.urandom(100))
    return end(conn)


def cut(head, body):
    """A request whose body ends with the connection, and without `close_notify`."""
    def case(version):
        conn = connected(version)
        conn.write(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n" + body)
        conn.sock.shutdown(socket.SHUT_WR)
        answer = bytes(conn.read(max=12))
        return "served" if answer == b"HTTP/1.1 200" else "closed"
    return case


def byte_by_byte(version):
    conn = connected(version)
    for byte in GET:
        conn.write(bytes([byte]))
    answer = conn.read(max=12)
    return "served" if bytes(answer) == b"HTTP/1.1 200" else "closed"


def talks_after_its_end(version):
    conn = connected(version)
    send(conn, Alert().create(AlertDescription.close_notify, AlertLevel.warning))
    try:
        return get(conn)
    except TLSError:
        return "closed"


BOTH = ("1.2", "1.3")
CASES = [
    ("random bytes as data", BOTH, raw(b"\x17\x03\x03\x00\x40" + os.urandom(64))),
    ("a record too short to be one", BOTH, raw(b"\x17\x03\x03\x00\x01\x00")),
    ("an empty record", BOTH, raw(b"\x17\x03\x03\x00\x00")),
    ("a record of 17,000 bytes", BOTH, raw(b"\x17\x03\x03\x42\x68" + bytes(17000))),
    ("a record of 65,535 bytes", BOTH, raw(b"\x17\x03\x03\xff\xff" + bytes(65535))),
    ("a record of an unknown type", BOTH, raw(b"\x63\x03\x03\x00\x02\x01\x00")),
    ("a heartbeat", BOTH, raw(b"\x18\x03\x03\x00\x03\x01\xff\xff")),
    ("a record of SSL 3.0", BOTH, raw(b"\x17\x03\x00\x00\x40" + os.urandom(64))),
    ("an alert in plain text", BOTH, raw(b"\x15\x03\x03\x00\x02\x02\x28")),
    ("a change of ciphers late", BOTH, raw(b"\x14\x03\x03\x00\x01\x01")),
    ("a change of ciphers with another value", BOTH, raw(b"\x14\x03\x03\x00\x01\x02")),
    ("a ClientHello in plain text", BOTH, raw(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")),
    ("HTTP in plain text", BOTH, raw(GET)),
    ("half a record, and the end", BOTH, half_a_record),
    ("half a record, and silence", BOTH, silence_after_half_a_record),
    ("a new handshake", BOTH, message(hello)),
    ("a hundred new handshakes", BOTH, message(hello, 100)),
    ("a second Finished", BOTH, message(lambda: Finished((3, 4), 32).create(bytearray(32)))),
    ("a key update", ("1.3",), new_keys(1)),
    ("a few key updates", ("1.3",), new_keys(5)),
    ("a thousand key updates", ("1.3",), new_keys(1000)),
    ("a key update, and the old keys", ("1.3",), message(key_update(0))),
    ("a thousand key updates, and the old keys", ("1.3",), message(key_update(1), 1000)),
    ("a key update of another kind", ("1.3",), message(key_update(7))),
    ("a thousand empty records of data", BOTH, message(data(), 1000)),
    ("one warning", ("1.2",), message(alert(AlertDescription.no_renegotiation))),
    ("a thousand warnings", BOTH, message(alert(AlertDescription.no_renegotiation), 1000)),
    ("a fatal alert, and then a request", BOTH, message(alert(AlertDescription.internal_error, AlertLevel.fatal))),
    ("a request after close_notify", BOTH, talks_after_its_end),
    ("a body that is cut off", BOTH, cut(b"Content-Length: 100", b"half")),
    ("chunks that are cut off", BOTH, cut(b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n")),
    ("a request byte by byte", BOTH, byte_by_byte),
    ("a point that is not on the curve", BOTH, patched(
        tlslite.keyexchange.ECDHKeyExchange, "calc_public_value", share(b"\x04" + b"\x01" * 64), groups=["secp256r1"])),
    ("a point of no bytes", BOTH, patched(
        tlslite.keyexchange.ECDHKeyExchange, "calc_public_value", share(b""), groups=["secp256r1"])),
    ("an X25519 share of zeros", BOTH, patched(
        tlslite.keyexchange.ECDHKeyExchange, "calc_public_value", share(bytes(32)), groups=["x25519"])),
    ("an X25519 share that is too long", BOTH, patched(
        tlslite.keyexchange.ECDHKeyExchange, "calc_public_value", share(bytes(33)), groups=["x25519"])),
    ("a wrong Finished", ("1.2",), patched(tlslite.tlsconnection, "calc_key", flipped_finished)),
]


def outcome(case, version):
    try:
        return case(version)
    except TLSRemoteAlert as told:
        return "alert " + AlertDescription.toStr(told.description)
    except (socket.timeout, TimeoutError):
        return "hangs"
    except (TLSError, OSError, ValueError, AssertionError) as error:
        return "hangs" if "timed out" in str(error) else "closed"


PORT = int(sys.argv[1])
WANTED = sys.argv[2:]
for name, versions, case in CASES:
    for version in versions:
        full = f"{name}, TLS {version}"
        if not WANTED or full in WANTED:
            print(json.dumps({"case": full, "outcome": outcome(case, version)}), flush=True)
