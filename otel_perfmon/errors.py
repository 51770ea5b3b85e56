"""Every error this package raises, in one tree.

::

    PerfmonError
    ├── ConfigError (ValueError)     a setting is wrong; raised at start, never later
    ├── QueryError (ValueError)      the question is malformed
    ├── NotFoundError (LookupError)  a get_ call found nothing
    ├── StoreError                   the store could not do it
    │   ├── StoreClosedError         it was closed before
    │   ├── StoreBusyError           another process held the file for too long
    │   ├── StoreTimeoutError        the question took longer than it may
    │   ├── StoreFullError           the disk, or the room left on it, is used up
    │   ├── StoreCorruptError        SQLite found the file damaged
    │   └── SchemaError              the file is not ours, or newer than this program
    └── OtlpError                    the wire format or the peer
        ├── DecodeError              what the peer sent is not OTLP
        └── ForwardError             the destination refused

Recording raises none of them: what cannot be kept is counted, and logged at most once a minute.
"""


class PerfmonError(Exception):
    """The root of every error raised by this package."""


class ConfigError(PerfmonError, ValueError):
    """A setting is wrong: the message names the setting, the value, where it came from and what is allowed."""


class QueryError(PerfmonError, ValueError):
    """The question is malformed, whatever the store holds."""


class NotFoundError(PerfmonError, LookupError):
    """A ``get_`` call found nothing under that key."""


class StoreError(PerfmonError):
    """The store could not read or write."""

    stored_count: int = 0
    """Of what was to be written, the first so many were, in transactions before the one that failed."""


class StoreClosedError(StoreError):
    """The store was closed; open it again to go on."""


class StoreBusyError(StoreError):
    """Another process or connection held the file for longer than we wait."""


class StoreTimeoutError(StoreError):
    """The question took longer than it may; the store is as it was."""


class StoreFullError(StoreError):
    """There is no room left on the disk."""


class StoreCorruptError(StoreError):
    """SQLite found the file damaged."""


class SchemaError(StoreError):
    """The file is not a store of ours, or was written by a newer version. It is left as it is."""


class OtlpError(PerfmonError):
    """Something went wrong on the way to or from an OTLP peer."""


class DecodeError(OtlpError):
    """The peer sent something that is not OTLP."""


class ForwardError(OtlpError):
    """The destination refused; ``retryable`` says whether trying again can help, ``retry_after_ms`` when."""

    def __init__(self, message: str, *, retryable: bool = False, retry_after_ms: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
