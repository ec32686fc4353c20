"""Where Debian and Ubuntu publish: addresses of upstream's own, so that a lock names the same ones on every machine.

No machine has to reach them: ``[substitutes]``, the machine's own apt sources and ``--archive`` stand in for them.
"""

DEBIAN = "http://deb.debian.org/debian"
RELEASE = f"{DEBIAN}/dists/stable/InRelease"  # what is asked for to see whether the archive can be reached
SECURITY = f"{DEBIAN}-security"
SNAPSHOT = "https://snapshot.debian.org"  # every package that Debian ever published
UBUNTU = "http://archive.ubuntu.com/ubuntu"
UBUNTU_PORTS = "http://ports.ubuntu.com/ubuntu-ports"  # of all architectures but amd64
