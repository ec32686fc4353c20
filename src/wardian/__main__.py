"""``python -m wardian``."""

from wardian.main import main

main()
