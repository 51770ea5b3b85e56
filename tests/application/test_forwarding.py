"""A program that is told where to: its spans arrive there, and it notices nothing of it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(1, str(Path(__file__).parent.parent / "otlp"))

from destination_kit import free_port, ok, scripted_destination, status
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

import otel_perfmon
from otel_perfmon import ConfigError
from otel_perfmon.otlp.http_sending import HttpSender

pytestmark = pytest.mark.usefixtures("fresh_process")


def wait_until(is_so, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_what_is_recorded_arrives_within_seconds(db_path) -> None:
    with scripted_destination() as first, scripted_destination() as second:
        monitor = otel_perfmon.configure(db_path, forward_to=[first.url, second.url], service_name="shop")
        with monitor.monitor("checkout"):
            pass
        assert wait_until(lambda: first.names() == second.names() == ["checkout"])
        monitor.shutdown()
    resource = first.requests[0].message.resource_spans[0].resource
    assert {each.key: each.value.string_value for each in resource.attributes}["service.name"] == "shop"


def test_what_was_recorded_last_arrives_when_the_program_ends(run_python) -> None:
    with scripted_destination() as destination:
        run_python(
            """
            import otel_perfmon
            monitor = otel_perfmon.configure("metrics.db")
            for _ in range(1000):
                with monitor.monitor("checkout"):
                    pass
            """,
            OTEL_PYTHON_PERFMON_FORWARD_TO=destination.url,
        )
    assert len(destination.names()) == 1000
    assert max(destination.taken.values(), default=1) == 1


def test_nothing_is_sent_unless_it_is_told_to(run_python) -> None:
    """OpenTelemetry's own variables mean its own exporters."""
    with scripted_destination() as destination:
        program = """
            import sys, threading, otel_perfmon
            monitor = otel_perfmon.configure("metrics.db")
            with monitor.monitor("checkout"):
                pass
            monitor.force_flush()
            print([each.name for each in threading.enumerate() if "forward" in each.name], "httpcore" in sys.modules)
        """
        assert run_python(program, OTEL_EXPORTER_OTLP_ENDPOINT=destination.url) == "[] False\n"
    assert destination.requests == []


def test_by_opentelemetrys_variables_their_headers_go_to_that_endpoint_only(run_python) -> None:
    program = """
        import otel_perfmon
        monitor = otel_perfmon.configure("metrics.db")
        with monitor.monitor("checkout"):
            pass
    """
    with scripted_destination() as first, scripted_destination() as second:
        run_python(
            program,
            OTEL_PYTHON_PERFMON_FORWARD_TO=f"env,{second.url}",
            OTEL_EXPORTER_OTLP_ENDPOINT=first.url,
            OTEL_EXPORTER_OTLP_HEADERS="x-key=secret%20word",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        )
    (of_first,), (of_second,) = first.requests, second.requests
    assert of_first.headers["x-key"] == "secret word"
    assert of_first.headers["content-encoding"] == "gzip"
    assert not {"x-key", "content-encoding"} & set(of_second.headers)


def test_its_own_requests_make_no_spans(db_path) -> None:
    seen = []
    send = HttpSender.send

    def noting(self, *arguments, **options):
        seen.append(is_instrumentation_enabled())
        return send(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch, scripted_destination() as destination:
        patch.setattr(HttpSender, "send", noting)
        monitor = otel_perfmon.configure(db_path, forward_to=destination.url)
        with monitor.monitor("checkout"):
            pass
        assert wait_until(lambda: len(destination.requests) > 0)
        monitor.shutdown()
    assert set(seen) == {False}


def test_a_child_of_a_fork_sends_nothing_of_its_parents_and_its_own_spans_are_sent_by_the_parent(run_python) -> None:
    program = """
        import os, time, otel_perfmon
        monitor = otel_perfmon.configure("metrics.db")
        with monitor.monitor("before"):
            pass
        time.sleep(1.5)  # the parent sends
        children = []
        for number in range(4):
            pid = os.fork()
            if not pid:
                with monitor.monitor("child"):
                    pass
                monitor.force_flush()
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        with monitor.monitor("after"):
            pass
    """
    with scripted_destination() as destination:
        run_python(program, OTEL_PYTHON_PERFMON_FORWARD_TO=destination.url)
    assert sorted(destination.names()) == ["after", "before", *["child"] * 4]


def test_a_wrong_destination_is_an_error_at_the_start_without_its_credentials(db_path) -> None:
    with pytest.raises(ConfigError, match="forward_to must be URLs") as caught:
        otel_perfmon.configure(db_path, forward_to="ftp://ada:s3cr3t@collector")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [("http://ada:s3cr3t@c", "http://eve:s3cr3t@c"), ("http://c", "http://C/?tenant=s3cr3t"), ("env", "http://c")],
)
def test_two_destinations_of_one_name_are_an_error_at_the_start(db_path, first, second, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c")
    with pytest.raises(ConfigError, match=r"two destinations .* http://c/v1/traces\. Give them different") as caught:
        otel_perfmon.configure(db_path, forward_to=[first, second])
    assert "s3cr3t" not in str(caught.value)


def test_configured_again_with_another_destination_it_warns_without_credentials(db_path, caplog) -> None:
    url = f"http://ada:s3cr3t@127.0.0.1:{free_port()}/?key=s3cr3t"
    monitor = otel_perfmon.configure(db_path, forward_to=url)
    otel_perfmon.configure(db_path, forward_to=url.replace("ada", "eve"))
    assert "forward_to" in caplog.text
    assert "s3cr3t" not in caplog.text
    monitor.shutdown()


def test_without_the_package_it_says_what_to_install(db_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "httpcore", None)
    for name in ("otel_perfmon.otlp.http_sending", "otel_perfmon.otlp.deadline_network"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'otel-perfmon\[otlp\]'"):
        otel_perfmon.configure(db_path, forward_to="http://127.0.0.1:4318")


def test_the_provider_of_the_environment_logs_a_wrong_destination_and_records(run_python) -> None:
    program = """
        import logging
        logging.basicConfig()
        from opentelemetry import trace
        with trace.get_tracer("shop").start_as_current_span("checkout"):
            pass
    """
    run_python(program, OTEL_PYTHON_TRACER_PROVIDER="perfmon", OTEL_PYTHON_PERFMON_FORWARD_TO="nowhere")
    with otel_perfmon.open_store("metrics.db") as store:
        assert store.summarize_store().span_count == 1


def test_what_a_destination_does_changes_nothing_for_the_program(db_path) -> None:
    answers = (status(500), status(400), status(301), ok)
    with scripted_destination(*answers) as destination:
        monitor = otel_perfmon.configure(db_path, forward_to=destination.url)
        for _ in range(50):
            with monitor.monitor("checkout"):
                pass
        assert wait_until(lambda: len(destination.requests) > 0)
        monitor.shutdown()
    assert os.path.exists(db_path)
