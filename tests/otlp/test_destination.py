"""A destination is read from a URL, or from OpenTelemetry's variables, as its specification has it."""

from __future__ import annotations

import pytest

from otel_perfmon.config import parse_setting
from otel_perfmon.errors import ConfigError
from otel_perfmon.otlp.destination import parse_destination, parse_header

URLS = {
    "http://collector:4318": ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
    "http://collector:4318/": ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
    "https://Collector/otlp/": ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
    "http://c:4318/v1/traces": ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
    "http://[::1]:4318": ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
    "http://a:b@c/?key=5#x": ("http://c/v1/traces", "http://c/v1/traces?key=5"),
    "grpc://collector": ("grpc://collector:4317", "http://collector:4317"),
    "grpcs://a:b@collector:443/": ("grpcs://collector:443", "https://collector:443"),
}


@pytest.mark.parametrize(("text", "expected"), URLS.items(), ids=URLS.keys())
def test_a_url_is_a_base_and_its_name_holds_no_secret(text, expected) -> None:
    found = parse_destination(text)
    assert (found.name, found.url) == expected
    assert found.protocol == ("grpc" if text.startswith("grpc") else "http/protobuf")
    assert ("authorization" in found.headers) == ("@" in text)
    assert found.headers.get("authorization", "Basic YTpi") == "Basic YTpi"
    assert "Basic" not in repr(found)
    assert "key=5" not in repr(found)


@pytest.mark.parametrize(
    "text", ["", "collector", "ftp://a:s3cr3t@c", "http://", "http://c:99999", "http://a b", "h\0://c"]
)
def test_what_is_no_url_is_refused_without_its_credentials(text) -> None:
    with pytest.raises(ConfigError, match="A destination is a URL") as caught:
        parse_destination(text)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "user:s3cr3t@collector:4318",
        "http://user:pa/s3cr3t@collector:4318",
        "https://user:12/s3cr3t@collector",
        "https://user:12#s3cr3t@collector",
        "https://user:12?s3cr3t@collector",
        "http:/user:s3cr3t@collector",
        "grpc://user:12/s3cr3t@collector",
        "ftp://u:s3cr3t@s3cr3t@collector/",
    ],
)
def test_a_password_is_not_shown_wherever_it_stands(text) -> None:
    for refuse in (parse_destination, lambda text: parse_setting("forward_to", text) and parse_destination(text)):
        with pytest.raises(ConfigError) as caught:
            refuse(text)
        assert "s3cr3t" not in str(caught.value)
        assert "@collector" in str(caught.value)


def of_environment(**variables: str):
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    return parse_destination("env", environ=environ)


@pytest.mark.parametrize(
    ("variables", "url", "protocol"),
    [
        ({}, "http://localhost:4318/v1/traces", "http/protobuf"),
        ({"ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces", "http/protobuf"),
        ({"ENDPOINT": "http://c:4318/base/"}, "http://c:4318/base/v1/traces", "http/protobuf"),
        ({"ENDPOINT": "http://c", "TRACES_ENDPOINT": "http://t/x"}, "http://t/x", "http/protobuf"),
        ({"TRACES_ENDPOINT": "http://t"}, "http://t/", "http/protobuf"),
        ({"ENDPOINT": " ", "PROTOCOL": "http/json"}, "http://localhost:4318/v1/traces", "http/json"),
        ({"PROTOCOL": "grpc"}, "http://localhost:4317", "grpc"),
        ({"PROTOCOL": "grpc", "ENDPOINT": "c:4317"}, "https://c:4317", "grpc"),
        ({"PROTOCOL": "grpc", "ENDPOINT": "c:4317", "INSECURE": "true"}, "http://c:4317", "grpc"),
        (
            {"PROTOCOL": "grpc", "TRACES_PROTOCOL": "http/protobuf", "ENDPOINT": "https://c"},
            "https://c/v1/traces",
            "http/protobuf",
        ),
    ],
)
def test_opentelemetrys_variables_say_where_and_how(variables, url, protocol) -> None:
    found = of_environment(**variables)
    assert (found.url, found.protocol) == (url, protocol)


def test_opentelemetrys_variables_say_the_rest_and_those_of_traces_win(caplog) -> None:
    found = of_environment(
        HEADERS="a=1,b=2",
        TRACES_HEADERS="X-Key=two%20words,,nonsense-s3cr3t, c = d ",
        COMPRESSION="gzip",
        TIMEOUT="2.5",
        TRACES_TIMEOUT="",
        CERTIFICATE="/ca.pem",
        CLIENT_KEY="/key.pem",
        CLIENT_CERTIFICATE="/cert.pem",
    )
    assert found.headers == {"x-key": "two words", "c": "d"}
    assert (found.compression, found.timeout_seconds) == ("gzip", 2.5)
    assert (found.certificate, found.client_key, found.client_certificate) == ("/ca.pem", "/key.pem", "/cert.pem")
    assert "It is left out" in caplog.text


def test_a_timeout_in_milliseconds_is_told_from_one_in_seconds() -> None:
    assert of_environment(TIMEOUT="10000").timeout_seconds == 10
    assert of_environment(TIMEOUT="30").timeout_seconds == 30


@pytest.mark.parametrize(
    "variables",
    [{"PROTOCOL": "udp"}, {"COMPRESSION": "zip"}, {"TIMEOUT": "soon"}, {"TIMEOUT": "0"}, {"TIMEOUT": "nan"}],
)
def test_a_wrong_variable_is_named(variables) -> None:
    (name,) = variables
    with pytest.raises(ConfigError, match=f"OTEL_EXPORTER_OTLP_{name} must be"):
        of_environment(**variables)


def test_no_variable_is_looked_at_for_a_url() -> None:
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    found = parse_destination("http://c", environ=environ)
    assert (dict(found.headers), found.compression) == ({}, "none")


@pytest.mark.parametrize("text", ["a", "=b", "a b=c", "a=b\r\nc: d", "ä=b", "a=ü"])
def test_a_header_that_could_break_a_request_is_refused_without_its_value(text) -> None:
    with pytest.raises(ConfigError, match="name=value") as caught:
        parse_header(text)
    assert "c: d" not in str(caught.value)
