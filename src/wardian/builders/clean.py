"""What a system step leaves behind and an image must not hold: logs, caches, the machine's identity, compiled Python.

All of it either differs from one build to the next or is wrong on another machine. Compiled Python carries the time of
its source, which a layer sets to a fixed one.
"""

import re

_DROPPED = re.compile(
    r"""
      (?: .*/ )? __pycache__ (?: / .+ )?
    | var/log/ (?: (?: dpkg | alternatives | bootstrap | fontconfig ) \.log | apt/[^/]+ | lastlog | faillog | [bw]tmp )
    | var/log/journal/.+
    | var/cache/ (?: apt | man ) / .+
    | var/cache/ldconfig/aux-cache
    | var/cache/fontconfig/.+
    | var/cache/debconf/[^/]+-old
    | var/lib/apt/lists/.+
    | var/lib/apt/ (?: daily_lock | periodic/.+ )
    | var/lib/dpkg/ (?: lock | lock-frontend | triggers/Lock | [^/]+-old )
    | var/lib/dbus/machine-id
    | var/lib/systemd/ (?: catalog/database | random-seed )
    | var/backups/.+
    | etc/machine-id
    | etc/\.pwd\.lock
    | etc/ (?: passwd | group | shadow | gshadow | subuid | subgid ) -
    | etc/ssh/ssh_host_[^/]+_key (?: \.pub )?
    | root/ (?: \.cache/.+ | \.bash_history | \.wget-hsts | \.python_history )
    | run/.+
    | tmp/.+
    | var/tmp/.+
    | dev/.+ | proc/.+ | sys/.+
    """,
    re.VERBOSE | re.DOTALL,
)


def dropped(path: str) -> bool:
    """Whether a path (relative, without a slash at either end) stays out of every system layer.

    >>> dropped("var/log/dpkg.log"), dropped("var/log"), dropped("usr/bin/env")
    (True, False, False)
    """
    return _DROPPED.fullmatch(path) is not None
