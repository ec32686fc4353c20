"""How one kind of input is pinned: base images, Debian packages, Python distributions."""
