"""The sender for a destination, by its protocol; the packages that it takes are loaded when it is made."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from otel_perfmon.errors import ConfigError
from otel_perfmon.otlp.destination import Destination
from otel_perfmon.otlp.forwarder import Sender


def open_sender(destination: Destination) -> Sender:
    """A sender that has no connection yet. Raises `ConfigError` where a package is missing."""
    agent = f"otel-perfmon/{_version()}"
    extra = "grpc" if destination.protocol == "grpc" else "otlp"
    try:
        if destination.protocol == "grpc":
            from otel_perfmon.otlp.grpc_sending import GrpcSender  # noqa: PLC0415 - an extra

            return GrpcSender(destination, agent)
        from otel_perfmon.otlp.http_sending import HttpSender  # noqa: PLC0415 - an extra, and 60 ms

        return HttpSender(destination, agent)
    except ImportError as error:
        message = f"Forwarding to {destination.name} takes one package more: pip install 'otel-perfmon[{extra}]'."
        raise ConfigError(message) from error


def _version() -> str:
    try:
        return version("otel-perfmon")
    except PackageNotFoundError:  # run from a checkout
        return "0"
