"""A shop that records into PATH, and does what it is told, line by line: checkouts, slow ones, failing ones.

Run:  python shop.py PATH, then lines such as ``quick 5``, ``slow``, ``fail``, ``open``, ``steady``; each is answered
with ``done`` when its spans are stored. It ends with its input.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress

from opentelemetry import trace

import otel_perfmon

THRESHOLD_MS = 60
monitor = otel_perfmon.configure(sys.argv[1], service_name="shop", slow_threshold_ms=THRESHOLD_MS)
tracer = trace.get_tracer("shop.database", "1.2")
is_over = threading.Event()


class BankError(Exception):
    pass


def wait_for_the_bank(seconds):
    time.sleep(seconds)


def checkout(*, bank_seconds=0.0, is_refused=False):
    with monitor.monitor("POST /checkout", attributes={"order.id": "A-1", "user": "ada"}):
        with (
            monitor.monitor("load_cart"),
            tracer.start_as_current_span("SELECT carts", attributes={"db.system.name": "postgresql", "rows": 3}),
        ):
            time.sleep(0.001)
        with monitor.monitor("charge_card", attributes={"card.brand": "visa"}):
            wait_for_the_bank(bank_seconds)
            if is_refused:
                message = "no answer from the bank after 1200 ms"
                raise BankError(message)


def quick(count="1"):
    for _ in range(int(count)):
        checkout()


def slow():
    checkout(bank_seconds=2.5 * THRESHOLD_MS / 1000)


def fail():
    with suppress(BankError):
        checkout(is_refused=True)


def start_open():
    """A call that does not end before the program does."""

    def report():
        with monitor.monitor("nightly_report", attributes={"day": "monday"}):
            is_over.wait()

    threading.Thread(target=report).start()
    time.sleep(2 * THRESHOLD_MS / 1000)


def steady(per_second="20"):
    def loop():
        while not is_over.wait(1 / float(per_second)):
            checkout()

    threading.Thread(target=loop).start()


COMMANDS = {"quick": quick, "slow": slow, "fail": fail, "open": start_open, "steady": steady}


def say(word):
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


say("ready")
for line in sys.stdin:
    name, *arguments = line.split()
    COMMANDS[name](*arguments)
    monitor.force_flush()
    say("done")
is_over.set()
monitor.shutdown()
