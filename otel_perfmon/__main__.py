"""``python -m otel_perfmon`` is the ``otel-perfmon`` command."""

import sys

from otel_perfmon.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
