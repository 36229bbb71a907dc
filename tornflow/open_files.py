"""How many files, connections among them, this process may have open at a time."""

from __future__ import annotations

import structlog

_log = structlog.get_logger("tornflow.server")
_PLENTY = 65_536  # some systems allow a thousand million, which programs that close "all" files take ill


def allow_open_files(needed: int) -> int | None:
    """Raise the soft limit if it is lower than ``needed``, at most to the hard one; warn when that is not enough.

    Returns the limit that holds now; None where the system has none that we know of.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return soft
    wanted = max(needed, _PLENTY)
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    except (OSError, ValueError) as error:
        _log.warning("the limit of open files cannot be raised", reason=str(error))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft < needed:
        _log.warning(
            "few open files are allowed; raise the limit or lower outbound.connections", limit=soft, need=needed
        )
    return soft
