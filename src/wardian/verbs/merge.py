"""`wardian merge`: a sharded training checkpoint becomes a HuggingFace directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wardian.errors import DigestMismatch, Unavailable, WardianError
from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.checkpoints.merging import Plan, Wish
    from wardian.checkpoints.reading import Advance
    from wardian.checkpoints.source import Source

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "keep": None}
_SHOWN = 12  # tensors of `inspect`, without --all


class Merge(click.Group):
    """A group whose first word may be a checkpoint: then it is merged. Its help is that of the merge."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the merge's own name in front of what is no verb of the group."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["checkpoint", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A verb of the group, or the merge itself, which has no name of its own."""
        return checkpoint if cmd_name == "checkpoint" else super().get_command(ctx, cmd_name)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of a merge, then the verbs of the group."""
        checkpoint.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _options(function: Any) -> Any:
    """What decides the tensors of the output: the same for a merge and for what is compared with one."""
    options = [
        click.option(
            "--dtype", type=click.Choice(list(DTYPES)), default="bf16", show_default=True, help="Of the output."
        ),
        click.option("--world-size", type=int, metavar="W", help="Which shards, where there are several sizes."),
        click.option("--tied", type=click.Choice(["auto", "keep"]), default="auto", help="Keep a head that is tied."),
        click.option("--lora", type=click.Choice(["separate", "fuse"]), help="What becomes of LoRA weights."),
        click.option("--keys", type=click.Choice(["hub", "as-saved"]), default="hub", help="Names of experts."),
        click.option("--max-shard-size", metavar="SIZE", default="50g", show_default=True, help="Of one file."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@verb(
    "checkpoint",
    example="wardian merge outputs/global_step_100/actor --out merged\n"
    "wardian merge outputs/global_step_100 --verify --dry-run\n"
    "wardian merge --local_dir actor --target_dir merged --hf_upload_path me/model",
    hidden=True,
)
@click.option(
    "-o", "--out", "--target_dir", "--save_dir", "out", metavar="DIR", help="Default: its huggingface folder."
)
@_options
@click.option("--verify", is_flag=True, help="Compare each shard with its CRC-32; keep the sha256 of what is written.")
@click.option("--overwrite", is_flag=True, help="Replace what an earlier merge wrote.")
@click.option("--threads", type=click.IntRange(1, 64), metavar="N", help="Default: the processors, at most 4.")
@click.option("--fsync", is_flag=True, help="End only when all is on the disk.")
@click.option("--upload", "--hf_upload_path", "upload", metavar="REPO", help="Bring it to the HuggingFace hub.")
@click.option("--public", is_flag=True, help="Let everybody see what is uploaded.")
@click.option("--private", is_flag=True, hidden=True, help="The default.")
@click.option("--revision", metavar="NAME", help="The branch to upload to.")
@click.option("--backend", type=click.Choice(["fsdp"]), default="fsdp", hidden=True)
@click.option("--local_dir", metavar="DIR", hidden=True, help="The checkpoint, as other mergers name it.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.argument("checkpoint", required=False, metavar="CHECKPOINT")
def checkpoint(workspace: Workspace, checkpoint: str | None, local_dir: str | None, **flags: Any) -> None:
    """Merge the shards of a checkpoint into a HuggingFace directory.

    CHECKPOINT is a folder with model_world_size_*_rank_*.pt (or the one above it with actor/), or of
    torch.distributed.checkpoint. No code of it runs, and torch is not needed.
    """
    from wardian.checkpoints.source import found

    named = checkpoint or local_dir
    if named is None:
        raise click.UsageError("name a checkpoint: wardian merge CHECKPOINT")
    if flags["upload"]:
        _hub()
        flags["verify"] = True
    source = found(Path(named), world=flags["world_size"])  # what is refused needs no numpy

    from wardian.checkpoints.merging import merge, planned

    plan = planned(source, _wish(flags))
    out = Path(flags["out"]) if flags["out"] else source.side or source.folder / "huggingface"
    if flags["dry_run"]:
        _say_plan(workspace, plan, out, overwrite=flags["overwrite"])
        return
    for line in _notes(plan):
        workspace.console.note(line)
    with _progress(workspace, f"{out}", plan.size) as advance:
        said = merge(plan, out, overwrite=flags["overwrite"], advance=advance)
    for key, odd in said["odd"].items():
        workspace.console.note(f"{key}: {', '.join(f'{number} × {name}' for name, number in odd.items() if number)}")
    if flags["upload"]:
        _upload(workspace, out, flags)
    text = f"{out}: {len(said['tensors'])} tensors, {human_size(plan.size)}, {_kind(source)}"
    workspace.console.answer(text, {"out": str(out), **said})


@verb("inspect", example="wardian merge inspect outputs/global_step_100/actor\nwardian merge inspect actor --all")
@click.option("--world-size", type=int, metavar="W", help="Which shards, where there are several sizes.")
@click.option("--all", "every", is_flag=True, help="List every tensor.")
@click.argument("checkpoint", metavar="CHECKPOINT")
def inspect(workspace: Workspace, checkpoint: str, world_size: int | None, *, every: bool) -> None:
    """Show what a checkpoint holds: ranks, mesh, tensors. Nothing is written, and no tensor is read."""
    from wardian.checkpoints.source import found

    source = found(Path(checkpoint), world=world_size)
    names = list(source.made)
    shown = names if every or workspace.console.as_json else names[:_SHOWN]
    rows = [
        (
            key,
            source.made[key].dtype,
            " × ".join(map(str, source.made[key].shape)) or "a number",
            len(source.made[key].parts),
        )
        for key in shown
    ]
    size = sum(one.count * one.itemsize for one in source.made.values())
    data = {
        "folder": str(source.folder),
        "kind": source.kind,
        "ranks": source.world,
        "mesh": list(source.mesh),
        "model_type": source.config.get("model_type"),
        "bytes": size,
        "tensors": {
            key: {"dtype": dtype, "shape": list(source.made[key].shape), "parts": parts}
            for key, dtype, _, parts in rows
        },
    }
    workspace.console.table(("TENSOR", "DTYPE", "SHAPE", "PARTS"), [tuple(map(str, row)) for row in rows], data)
    if not workspace.console.as_json:
        more = f"; {len(names) - len(shown)} more: --all" if len(shown) < len(names) else ""
        workspace.console.note(f"{len(names)} tensors, {human_size(size)}, {_kind(source)}{more}")


@verb(
    "verify",
    example="wardian merge verify merged\nwardian merge verify merged --against outputs/global_step_100/actor\n"
    "wardian merge verify merged --against merged-by-verl",
)
@click.option(
    "--against",
    "--test_hf_dir",
    "against",
    metavar="CHECKPOINT|DIR",
    help="Merge it again in memory, or read what another merged, and compare each number.",
)
@_options
@click.argument("directory", metavar="DIR")
def verify(workspace: Workspace, directory: str, against: str | None, **flags: Any) -> None:
    """Compare a merged directory with its manifest, with its checkpoint, or with another merged directory."""
    from wardian.checkpoints import source
    from wardian.checkpoints.merging import planned
    from wardian.checkpoints.verifying import differences, faults, held, unlike

    out = Path(directory)
    tensors = held(out)
    size = sum(one.size for _, one in tensors.values())
    hint = "merge the checkpoint again"
    with _progress(workspace, str(out), size) as advance:
        if not against:
            wrong = list(faults(out, advance))
        elif source.folders(Path(against)) or not any(Path(against).glob("*.safetensors")):
            plan = planned(source.found(Path(against), world=flags["world_size"]), _wish(flags))
            wrong = list(differences(out, plan, advance))
        else:
            wrong = list(unlike(out, Path(against), advance))
            hint = "the checkpoint knows which is right: --against CHECKPOINT"
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DigestMismatch(f"{out}: {wrong[0]}{more}", hint=hint)
    workspace.console.answer(
        f"{out}: {len(tensors)} tensors, {human_size(size)}, all as they should be", {"faults": wrong}
    )


def _wish(flags: dict[str, Any]) -> "Wish":
    import os

    from wardian.checkpoints.merging import Wish
    from wardian.spec.units import size

    try:
        largest = size(flags["max_shard_size"])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--max-shard-size") from error
    return Wish(
        dtype=DTYPES[flags["dtype"]],
        largest=largest,
        tied=flags["tied"],
        keys=flags["keys"],
        lora=flags["lora"],
        verify=flags.get("verify", False),
        threads=flags.get("threads") or min(4, os.cpu_count() or 1),
        fsync=flags.get("fsync", False),
    )


def _kind(source: "Source") -> str:
    over = " × ".join(map(str, source.mesh))
    return f"{source.kind} of {source.world} rank{'s' if source.world > 1 else ''} ({over})"


def _notes(plan: "Plan") -> Iterator[str]:
    for key, other in plan.dropped.items():
        yield f"{key} is {other}: it is written once"
    if adapter := plan.adapter:
        said = f"LoRA weights of rank {adapter.rank}, alpha {adapter.alpha:g}, for {len(adapter.pairs)} tensors"
        apart = "the model is the one before training; they are in lora_adapter/"
        yield f"{said}: {'added into the model' if plan.wish.lora == 'fuse' else apart}"
    if plan.source.side is None:
        yield f"{plan.source.folder} has no huggingface folder: the output has weights, and no config or tokenizer"


def _say_plan(workspace: Workspace, plan: "Plan", out: Path, *, overwrite: bool) -> None:
    from wardian.checkpoints.merging import allowed

    allowed(plan, out, overwrite=overwrite)
    lines = [f"{out / one.name}: {len(one.tensors)} tensors, {human_size(one.size)}" for one in plan.files]
    data = {"out": str(out), "files": {one.name: one.size for one in plan.files}, "dropped": dict(plan.dropped)}
    workspace.console.answer("\n".join([*lines, *_notes(plan)]), data)


@contextmanager
def _progress(workspace: Workspace, title: str, total: int) -> "Iterator[Advance]":
    """Amount and rate while bytes move."""
    from wardian.registry.progress import metered

    with workspace.console.progress() as tasks, metered(tasks, title, total) as advance:
        yield advance or (lambda _: None)


def _hub() -> Any:
    """The hub's library, which only an upload needs."""
    from importlib import import_module

    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise Unavailable("huggingface_hub is not installed", hint="type: pip install huggingface_hub") from error


def _upload(workspace: Workspace, out: Path, flags: dict[str, Any]) -> None:
    """Bring a verified directory to the hub; private, unless it was asked to be public. Never the shards."""
    from wardian.checkpoints.verifying import faults

    if wrong := list(faults(out)):
        raise DigestMismatch(f"{out}: {wrong[0]}; nothing is uploaded")
    hub, repository = _hub(), flags["upload"]
    try:
        api = hub.HfApi()
        api.create_repo(repository, private=not flags["public"], exist_ok=True)
        private = api.model_info(repository).private  # one that was there before stays what it was
        if private or flags["public"]:
            if flags["revision"]:
                api.create_branch(repository, branch=flags["revision"], exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=str(out), revision=flags["revision"])
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        hint = "is HF_TOKEN set, and may it write there?"
        raise WardianError(f"upload to {repository}: {said[0]}; {out} is whole", hint=hint) from error
    if not private and not flags["public"]:
        hint = "add --public, or name another repository"
        raise WardianError(f"{repository} is there already, and public: nothing is uploaded; {out} is whole", hint=hint)
    workspace.console.note(f"uploaded to {repository}, {'private' if private else 'public'}")


command = Merge(
    "merge",
    commands=[inspect, verify],
    help=checkpoint.help,
    epilog=checkpoint.epilog,
    subcommand_metavar="CHECKPOINT",
)
