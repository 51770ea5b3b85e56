"""A program under the monitor without a line of ours in it: what ``otel-perfmon run`` starts, and what begins there."""
