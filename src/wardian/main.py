"""The parser and the only error boundary."""

import json
import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from wardian import __version__
from wardian.errors import SpecError, WardianError, told

VERBS = {
    "init": "Start a project from a template, or propose a file for a folder that has code",
    "config": "Show each value of the merged configuration and where it came from",
    "schema": "Print the JSON schema of wardian.toml",
    "lock": "Pin every input of every image",
    "build": "Build images from the lock",
    "test": "Run every named check inside the images",
    "images": "List the images in the store",
    "tree": "Show an image layer by layer, with sizes and what is shared",
    "diff": "Show what changed between two images",
    "export": "Write an image as an OCI layout, a docker archive or a folder",
    "pull": "Bring images of a registry into the store",
    "push": "Bring images into a registry: what it lacks, and nothing half",
    "pin": "Write digests behind the images that a file uses",
    "outdated": "Say which bases are newer in their registry",
    "registry": "List what a registry has, or remove what is too old",
    "load": "Hand an image over to docker or podman",
    "render": "Write a Dockerfile, compose file, bake file or dev container that works without Wardian",
    "run": "Run a program in an image",
    "shell": "Open a shell in an image",
    "attach": "Open a shell in a container that is running",
    "exec": "Run a program in a container that is running",
    "logs": "Show the output of a detached run or a service",
    "ps": "List the containers that are running",
    "stop": "Stop containers",
    "mount": "Bind paths of this machine over those of the image",
    "up": "Start the services of the file, and wait until they are ready",
    "down": "End the services",
    "status": "Show the services and whether they are ready",
    "runs": "List past runs, or show one",
    "reproduce": "Run a recorded run again",
    "store": "Verify, prune or measure the store",
    "doctor": "Say what is here, what is missing and how to get it",
    "merge": "Merge a sharded training checkpoint into a HuggingFace directory",
    "env": "Serve environments to agents over HTTP, and check a server",
    "format": "Format the project by the formatter it names, in an image",
    "eval": "Play an environment's items by a language model, and say how well it did",
    "demo": "Go the whole way on this machine, in a minute or two",
}


class Verbs(click.Group):
    """The verbs, each imported when it is used: `wardian --help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of a project's life."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"wardian.verbs.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that begin so, without importing them, then the options."""
        verbs = [CompletionItem(name, help=text) for name, text in VERBS.items() if name.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the verb, or the one that was probably meant."""
        if args and not args[0].startswith("-") and args[0] not in VERBS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=1)
            raise SpecError(
                f"there is no verb {args[0]!r}",
                hint=f"did you mean: wardian {near[0]}" if near else "type: wardian --help",
            )
        return super().resolve_command(ctx, args)


EPILOG = """\b
Example:
  wardian init --template puffer trainer && cd trainer
  wardian lock && wardian build && wardian test
  wardian run -- python train_puffer.py --trainer-backend puffer_ppo
"""


@click.group(
    cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="wardian")
def cli() -> None:
    """Seal an experiment's environment into one image and run it anywhere, unchanged."""


def main() -> None:
    """Run a verb and turn what it raises into one line and an exit code."""
    sys.exit(guarded(sys.argv[1:]))


def guarded(argv: list[str]) -> int:
    """The exit code of one command line; every error ends here."""
    try:
        code = cli.main(argv, prog_name="wardian", standalone_mode=False)
    except (KeyboardInterrupt, click.exceptions.Abort):
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        _say(argv, _misuse(error))
        return 2
    except WardianError as error:
        _say(argv, error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - a bug: report it and keep the traceback out of the user's way
        if isinstance(error, OSError) and (expected := _disk(error)):
            _say(argv, expected)
            return expected.exit_code
        path = _report(argv, traceback.format_exc())
        print(f"wardian: this is a bug; what is known of it is in {path}", file=sys.stderr)
        return 3
    return code if isinstance(code, int) else 0


BEHIND = ("-C", "--project", "--set", "--json", "-v", "--verbose")  # what every verb takes, see verbs/__init__.py


def _misuse(error: click.ClickException) -> SpecError:
    """A command line that click refuses, as an error of ours."""
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "wardian"
    if isinstance(error, click.NoSuchOption) and path == "wardian" and error.option_name in BEHIND:
        name = error.option_name
        return SpecError(f"{name} stands behind the verb", hint=f"as in: wardian build {name} …")
    text = error.format_message().removesuffix(".")
    return SpecError(text[:1].lower() + text[1:], hint=f"type: {path} --help")


def _disk(error: OSError) -> WardianError | None:
    """A full or closed disk is nobody's bug, whichever write meets it."""
    from wardian.store.files import disk_error

    return disk_error(error)


def _say(argv: list[str], error: WardianError) -> None:
    ours = argv[: argv.index("--")] if "--" in argv else argv  # what follows -- is a program's
    if "--json" in ours:
        body = told(error)
        if isinstance(error, SpecError):
            body["faults"] = [
                {"path": f.path, "message": f.message, "source": f.source, "line": f.line, "hint": f.hint}
                for f in error.faults
            ]
        print(json.dumps(body, indent=2), file=sys.stderr)
        return
    for line in error.message.splitlines():
        print(f"wardian: {line}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)


def _report(argv: list[str], trace: str) -> Path:
    """Write what a bug report needs to a file of its own and return its path. Values of the environment stay out."""
    words = f"argv: {argv[:1]} and {max(0, len(argv) - 1)} more words"  # the rest may hold a secret
    versions = f"wardian {__version__}\npython {sys.version}\n{platform.platform()}"
    descriptor, name = tempfile.mkstemp(prefix="wardian-bug-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{versions}\n{words}\n\n{trace}")
    return Path(name)


if __name__ == "__main__":
    main()
