"""The launcher: there is no application to launch."""

import argparse


class App:
    """What would be the simulator's application."""

    def is_running(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing to close."""


class AppLauncher:
    """Takes the options of Isaac Lab's launcher, and says what it cannot do."""

    def __init__(self, given: argparse.Namespace) -> None:
        if not given.headless:
            raise SystemExit("the stand-in of Isaac Lab has no window: add --headless")
        self.app = App()

    @staticmethod
    def add_app_launcher_args(parser: argparse.ArgumentParser) -> None:
        """``--headless`` and ``--device``."""
        parser.add_argument("--headless", action="store_true", help="without a window")
        parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N; auto: a GPU if there is one")
