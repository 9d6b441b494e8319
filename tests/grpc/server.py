"""The gRPC server that Odin stands in front of in tests/tests/grpc.rs: grpcio's own, without protoc, messages as bytes.

Its first line on standard output is its port on 127.0.0.1. A call with the metadata `x-call: NAME` is there to be broken
off: it does not end by itself, and a line `ended NAME` says that it was ended from outside. The server runs until its
standard input ends, so it never outlives the test.
"""

import os
import sys
import threading
from concurrent import futures

import grpc

# No handler waits longer than this for anything. The client has less patience, except in calls with a name: the server
# ends a call at the client's deadline, and that is not to pass for a cancellation that arrived.
DEADLINE = 15
# What a client's message asks a Chat to do, other than to answer.
DIE = b"die"


class Events:
    """What has happened to calls, by name; a client asks for it with Await, over the connection of the call itself."""

    def __init__(self):
        self.changed = threading.Condition()
        self.names = set()

    def add(self, name):
        with self.changed:
            self.names.add(name)
            self.changed.notify_all()

    def wait(self, name):
        with self.changed:
            return self.changed.wait_for(lambda: name in self.names, DEADLINE)


EVENTS = Events()


class Call:
    """One call: answers the client's metadata, and says so when it is broken off."""

    def __init__(self, context, method, head=True):
        self.context, self.gave_up, self.gone = context, False, threading.Event()
        self.asked = dict(context.invocation_metadata())
        self.name = self.asked.get("x-call", "")
        if head:
            self.head()
        left = context.time_remaining()
        deadline = "yes" if left is not None and left <= DEADLINE else "no"
        self.trailing = [("x-method", method), ("x-deadline", deadline), ("x-twice", "one"), ("x-twice", "two"),
                         ("x-trail-bin", bytes(range(256)))]
        context.set_trailing_metadata(self.trailing)
        if not context.add_callback(self.over):
            self.over()

    def head(self):
        asked, bits = self.asked.get("x-ask", ""), self.asked.get("x-ask-bin", b"")
        self.context.send_initial_metadata([("x-asked", asked), ("x-asked-bin", bits)])

    def over(self):
        self.gone.set()
        if self.name and not self.gave_up:
            EVENTS.add(f"ended {self.name}")
            # One write: handlers share the stream.
            sys.stdout.write(f"ended {self.name}\n")
            sys.stdout.flush()

    def got(self):
        EVENTS.add(f"got {self.name}")

    def end(self, *more):
        # Not by the end of the client's messages: to grpcio's server that and a cancellation look the same.
        if self.name and not self.gone.wait(DEADLINE):
            self.gave_up = True
        self.context.set_trailing_metadata(self.trailing + list(more))


def unary(message, context):
    """The message."""
    Call(context, "Unary").end()
    return message


def collect(messages, context):
    """All messages in one, with no head before; their count in the trailing metadata."""
    call = Call(context, "Collect", head=False)
    parts = []
    for message in messages:
        parts.append(message)
        call.got()
    call.end(("x-count", str(len(parts))))
    if not call.name:
        call.head()
    return b"".join(parts)


def count(message, context):
    """As many messages as the message says."""
    call = Call(context, "Count")
    for number in range(int(message)):
        yield b"%d" % number
    call.end()


def large(_, context):
    """64 KiB, one hundred times, none like the other."""
    call = Call(context, "Large")
    for number in range(100):
        yield bytes([number]) * 65536
    call.end()


def chat(messages, context):
    """Answers each message before it reads the next; greets first when it is asked to."""
    call = Call(context, "Chat")
    if "x-greet" in call.asked:
        yield b"welcome"
    for message in messages:
        if message == DIE:
            os._exit(9)
        yield b"answer to " + message
    call.end()


def fail(_, context):
    """An error and nothing else: its status comes in the place of a head (Trailers-Only)."""
    Call(context, "Fail", head=False).end()
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "nothing fits: 100 % wrong, zu groß\nand a second line")


def fail_late(_, context):
    """Three messages, and then an error."""
    call = Call(context, "FailLate")
    for number in range(3):
        yield b"%d" % number
    call.end()
    context.abort(grpc.StatusCode.OUT_OF_RANGE, "no more than three")


def wait_for(message, context):
    """Answers when what the message names has happened to another call: `got NAME`, `ended NAME`."""
    call = Call(context, "Await")
    happened = EVENTS.wait(message.decode())
    call.end()
    return b"yes" if happened else b"no"


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Large": grpc.unary_stream_rpc_method_handler(large),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Await": grpc.unary_unary_rpc_method_handler(wait_for),
}


def main():
    # A handler that waits keeps its thread: as many as the tests have calls at once.
    threads = futures.ThreadPoolExecutor(max_workers=64)
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(threads, options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("odin.test.Echo", HANDLERS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    # Not after the handlers: nobody is there any more to whom it matters.
    os._exit(0)


if __name__ == "__main__":
    main()
