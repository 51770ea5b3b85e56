"""A URL as it may be shown: without its user and password, and without its query."""

from __future__ import annotations

import re
from typing import Final

_SHOWN_MAX: Final = 200


def shown_url(text: str) -> str:
    """A URL, or what was meant as one, without what may be secret in it.

    A password may hold anything, and a scheme may be forgotten: so all that stands before the last ``@`` goes.
    """
    shown = re.sub(r"^(\s*[A-Za-z][A-Za-z0-9+.-]*:/+|\s*/+)?.*@", r"\1…@", text, flags=re.DOTALL)
    return re.sub(r"[?#].*", "?…", shown, flags=re.DOTALL)[:_SHOWN_MAX]
