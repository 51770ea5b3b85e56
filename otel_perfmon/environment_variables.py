"""The names of our variables, for ``opentelemetry-instrument``, which makes a flag of each: ``--perfmon_path FILE``.

It takes the names that begin with ``OTEL_`` from this module, by the entry point
``opentelemetry_environment_variables``. What they mean stands in `otel_perfmon.config`.
"""

from otel_perfmon.config import SETTINGS

globals().update({setting.prefixed_variable: setting.prefixed_variable for setting in SETTINGS})
