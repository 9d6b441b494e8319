"""The gRPC client of tests/tests/grpc.rs: grpcio's own, without protoc, messages as bytes.

    client.py ADDRESS SCENARIO

Runs one scenario (a function of this file, by its name) against tests/grpc/server.py, directly or behind Odin, and
prints one line of JSON with what it saw. Exit code 1 when that is not what the server must have said; the line then
has it in `wrong`.
"""

import hashlib
import json
import os
import queue
import sys
import threading

import grpc

# Seconds for one call. Less than the test waits for this program, so that it still says what was missing.
DEADLINE = 12
ALL_BYTES = bytes(range(256))
ASKED = (("x-ask", "some words"), ("x-ask-bin", ALL_BYTES))
PIECES = [bytes([255 - number]) * 65536 for number in range(100)]


class Report:
    """What is printed, and what was not as it must be."""

    def __init__(self, scenario):
        self.seen, self.wrong = {"scenario": scenario}, []

    def check(self, what, got, wanted):
        if got != wanted:
            self.wrong.append(f"{what}: {short(got)!r}, not {short(wanted)!r}")

    def finish(self, call, messages, code="OK", method=None, **extra):
        """Waits for the end of the call, notes all of it, and checks what holds for every call."""
        seen = {
            "messages": [text(message) for message in messages],
            "code": call.code().name,
            "details": call.details(),
            "initial": metadata(call.initial_metadata()),
            "trailing": metadata(call.trailing_metadata()),
        }
        self.seen.update(seen, **extra)
        self.check("code", seen["code"], code)
        if method is None:
            return
        trailing = {"x-method": [method], "x-deadline": ["yes"], "x-twice": ["one", "two"],
                    "x-trail-bin": [text(ALL_BYTES)]}
        for name, values in trailing.items():
            self.check(f"trailing {name}", seen["trailing"].get(name), values)
        if seen["messages"]:
            self.check("initial x-asked", seen["initial"].get("x-asked"), ["some words"])
            self.check("initial x-asked-bin", seen["initial"].get("x-asked-bin"), [text(ALL_BYTES)])

    def print(self):
        self.seen["wrong"] = self.wrong
        print(json.dumps(self.seen), flush=True)
        return 1 if self.wrong else 0


def text(value):
    """A message or a value of metadata as JSON can have it."""
    if isinstance(value, str):
        return value
    if len(value) <= 40 and all(32 <= byte < 127 for byte in value):
        return value.decode()
    return f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()}"


def short(value):
    """A value for a message that a person reads: with lists, their beginning."""
    if isinstance(value, list):
        return [short(each) for each in value[:5]] + ([f"... {len(value)} in all"] if len(value) > 5 else [])
    return text(value) if isinstance(value, bytes) else value


def metadata(pairs):
    """Name to values, in their order."""
    found = {}
    for name, value in pairs or ():
        found.setdefault(name, []).append(text(value))
    return found


class Echo:
    """The server's methods over one connection."""

    def __init__(self, address):
        # The environment may name an HTTP proxy; the one under test is at `address`.
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1),
                   ("grpc.enable_retries", 0)]
        self.channel = grpc.insecure_channel(address, options=options)

    def call(self, kind, method, message, *more, timeout=DEADLINE):
        """Starts a call. `kind` is one of grpcio's four; `message` one message, or an iterator of them."""
        start = getattr(self.channel, kind)(f"/odin.test.Echo/{method}")
        start = start.future if kind.endswith("_unary") else start
        return start(message, timeout=timeout, metadata=ASKED + more)

    def open(self, kind, method, message, name):
        """Starts a call that is there to be broken off. Its own deadline is past everybody's patience."""
        return self.call(kind, method, message, ("x-call", name), timeout=10 * DEADLINE)

    def wait(self, report, event):
        """Asks the server, over the same connection, to say when this has happened."""
        answer = one(self.call("unary_unary", "Await", event.encode()))
        report.check(event, answer, [b"yes"])


def one(call):
    """The message of a call that answers with one; none when it failed."""
    return [] if call.exception() else [call.result()]


def many(call):
    """All messages of a call that answers with a stream."""
    messages = []
    try:
        for message in call:
            messages.append(message)
    except grpc.RpcError:
        pass  # the report has its status
    return messages


def unary(echo, report):
    message = ALL_BYTES * 12000  # 3 MB: past every window
    call = echo.call("unary_unary", "Unary", message)
    messages = one(call)
    report.check("messages", messages, [message])
    report.finish(call, messages, method="Unary")


def empty(echo, report):
    call = echo.call("unary_unary", "Unary", b"")
    messages = one(call)
    report.check("messages", messages, [b""])
    report.finish(call, messages, method="Unary")


def client_streaming(echo, report):
    call = echo.call("stream_unary", "Collect", iter(PIECES))
    messages = one(call)
    report.check("messages", messages, [b"".join(PIECES)])
    report.finish(call, messages, method="Collect")
    report.check("trailing x-count", report.seen["trailing"].get("x-count"), ["100"])


def server_streaming(echo, report):
    call = echo.call("unary_stream", "Count", b"1000")
    messages = many(call)
    report.check("messages", messages, [b"%d" % number for number in range(1000)])
    report.finish(call, messages, method="Count")


def large(echo, report):
    call = echo.call("unary_stream", "Large", b"")
    messages = many(call)
    report.check("messages", messages, [bytes([number]) * 65536 for number in range(100)])
    report.finish(call, messages, method="Large")


def bidirectional(echo, report):
    talk(echo, report, greeted=False)


def greeted(echo, report):
    """The server speaks first: its head and a message arrive before the client has sent any body."""
    talk(echo, report, greeted=True)


def talk(echo, report, greeted):
    # Up to 190 KB, past a window of 64 KiB. Question n + 1 does not exist before the answer to question n is here: a
    # proxy that holds a message back until more comes ends in this call's deadline.
    questions = [b"question %d " % number + b"?" * number * 10_000 for number in range(20)]
    arrived, turns = queue.Queue(), []

    def asked():
        if greeted:
            arrived.get(timeout=DEADLINE)
        for number, question in enumerate(questions):
            turns.append(f"asked {number}")
            yield question
            arrived.get(timeout=DEADLINE)

    call = echo.call("stream_stream", "Chat", asked(), *((("x-greet", "yes"),) if greeted else ()))
    messages = []
    try:
        for message in call:
            turns.append("greeted" if message == b"welcome" else f"answered {message.split()[3].decode()}")
            messages.append(message)
            arrived.put(True)
    except grpc.RpcError:
        pass
    welcome = [b"welcome"] if greeted else []
    report.check("messages", messages, welcome + [b"answer to " + question for question in questions])
    wanted = ["greeted"] if greeted else []
    for number in range(len(questions)):
        wanted += [f"asked {number}", f"answered {number}"]
    report.check("turns", turns, wanted)
    report.finish(call, messages, method="Chat", turns=turns)


def fail(echo, report):
    call = echo.call("unary_unary", "Fail", b"")
    report.finish(call, one(call), "INVALID_ARGUMENT", method="Fail")
    report.check("details", call.details(), "nothing fits: 100 % wrong, zu groß\nand a second line")


def fail_late(echo, report):
    call = echo.call("unary_stream", "FailLate", b"")
    messages = many(call)
    report.check("messages", messages, [b"0", b"1", b"2"])
    report.finish(call, messages, "OUT_OF_RANGE", method="FailLate")
    report.check("details", call.details(), "no more than three")


def unknown_method(echo, report):
    call = echo.call("unary_unary", "Nobody", b"")
    report.finish(call, one(call), "UNIMPLEMENTED")


def cancel_down(echo, report):
    """Cancelled while the server streams: its call ends, and the connection stays for others."""
    call = echo.open("unary_stream", "Count", b"1", "down")
    messages = [next(call)]
    call.cancel()
    echo.wait(report, "ended down")
    report.finish(call, messages, "CANCELLED")


def cancel_up(echo, report):
    """Cancelled while the client streams, and before the server has answered."""
    stop = threading.Event()

    def messages():
        yield b"the first of many"
        stop.wait(DEADLINE)

    call = echo.open("stream_unary", "Collect", messages(), "up")
    echo.wait(report, "got up")
    call.cancel()
    echo.wait(report, "ended up")
    stop.set()
    report.finish(call, [], "CANCELLED")


def cancel_both(echo, report):
    """Cancelled while both sides may still speak."""
    stop = threading.Event()

    def questions():
        yield b"one"
        stop.wait(DEADLINE)

    call = echo.open("stream_stream", "Chat", questions(), "both")
    messages = [next(call)]
    call.cancel()
    echo.wait(report, "ended both")
    stop.set()
    report.finish(call, messages, "CANCELLED")


def vanish(echo, report):
    """The client is gone from one moment to the next, with a call open. The test sees at the server what follows."""
    call = echo.open("unary_stream", "Count", b"1", "vanished")
    report.seen["messages"] = [text(next(call))]
    os._exit(report.print())


def server_dies(echo, report):
    """The server is gone from one moment to the next: the call must not look like one that went well."""
    last = queue.Queue()
    call = echo.call("stream_stream", "Chat", iter(last.get, None))
    last.put(b"one")
    messages = [next(call)]
    last.put(b"die")
    messages += many(call)
    last.put(None)
    report.check("messages", messages, [b"answer to one"])
    code = call.code().name
    report.finish(call, messages, code)
    report.check("failed", code in ("UNAVAILABLE", "INTERNAL", "CANCELLED", "UNKNOWN"), True)


def unavailable(echo, report):
    """Nobody is there to serve the call."""
    call = echo.call("unary_unary", "Unary", b"")
    report.finish(call, one(call), "UNAVAILABLE")


def together(echo, report):
    """All four kinds at once, six times, over one connection."""
    kinds = [unary, client_streaming, server_streaming, bidirectional]
    reports = [(kind, Report(kind.__name__)) for kind in kinds * 6]
    threads = [threading.Thread(target=kind, args=(echo, each), daemon=True) for kind, each in reports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    report.check("ended", [thread.is_alive() for thread in threads], [False] * len(threads))
    for kind, each in reports:
        report.check(kind.__name__, each.seen.get("code"), "OK")
        report.wrong += each.wrong


SCENARIOS = (unary, empty, client_streaming, server_streaming, large, bidirectional, greeted, fail, fail_late,
             unknown_method, cancel_down, cancel_up, cancel_both, vanish, server_dies, unavailable, together)


def main():
    address, name = sys.argv[1:]
    scenario = {scenario.__name__: scenario for scenario in SCENARIOS}[name]
    report = Report(name)
    try:
        scenario(Echo(address), report)
    except grpc.RpcError as error:
        report.wrong.append(f"the call broke: {error!r}")
    code = report.print()
    # Not after threads of calls that have failed already.
    os._exit(code)


if __name__ == "__main__":
    main()
