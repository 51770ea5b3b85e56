"""OTLP, in and out: spans of the store as the bytes and the JSON that OpenTelemetry's pipelines speak, and back."""
