"""OTLP over HTTP and gRPC, into a store: what is acknowledged is committed (opentelemetry-proto, specification.md)."""
