"""Spans as files for other tools than OpenTelemetry's: one format each."""
