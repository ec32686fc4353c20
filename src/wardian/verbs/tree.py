"""`wardian tree`: an image layer by layer."""

import sys
from typing import TYPE_CHECKING

import click

from wardian.console import Console
from wardian.errors import WardianError
from wardian.spec.units import human_size
from wardian.verbs import verb
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.plan.looking import Branch, ImageSeen, LayerSeen, Shared

SHOWN = 6  # packages of a layer without --packages


@verb("tree", example="wardian tree train\nwardian tree train --packages")
@click.argument("image")
@click.option("--packages", is_flag=True, help="Name every package of every layer.")
def command(workspace: Workspace, image: str, packages: bool) -> None:  # noqa: FBT001 - click hands flags over
    """Show an image layer by layer: sizes, what lies in each, and which other images have it too."""
    from wardian.plan.looking import sharers, sharing
    from wardian.store.seen import all_seen, records, seen

    store = workspace.store
    found = seen(store, workspace.image(image), records(store))
    others = [entry for entry in all_seen(store) if not isinstance(entry, WardianError)]
    held, share = sharers(found, others), sharing(found, others)
    layers = [{**layer.to_json(), "shared_with": list(held[layer.digest])} for layer in found.layers]
    data = {
        "reference": found.reference,
        "digest": found.digest,
        "platform": found.platform,
        "layers": layers,
        "size": found.size,
        "shared": share.shared,
        "unique": share.unique,
    }
    branch = drawn(found, held, share, limit=None if packages else SHOWN)
    show(workspace.console, branch, data)


def drawn(image: "ImageSeen", held: dict[str, tuple[str, ...]], share: "Shared", *, limit: int | None) -> "Branch":
    """The tree of an image; ``limit`` is the number of packages that are named for each layer."""
    from wardian.plan.looking import Branch

    leaves = [_leaf(layer, held[layer.digest], limit) for layer in image.layers]
    known = [layer.unpacked for layer in image.layers]
    unpacked = f", {human_size(sum(size or 0 for size in known))} unpacked" if None not in known else ""
    sums = f"{len(image.layers)} layers, {human_size(image.size)}{unpacked}"
    leaves.append(Branch(f"total {sums}: {human_size(share.unique)} of its own, {human_size(share.shared)} shared"))
    return Branch(f"{image.reference}  {image.digest[:19]}  {image.platform}", tuple(leaves))


def _leaf(layer: "LayerSeen", holders: tuple[str, ...], limit: int | None) -> "Branch":
    from wardian.plan.looking import Branch

    unpacked = f" → {human_size(layer.unpacked)}" if layer.unpacked is not None else ""
    text = f"{layer.title}  {human_size(layer.size)}{unpacked}  {layer.digest[7:19]}"
    leaves = []
    if layer.packages:
        shown = layer.packages[:limit]
        more = len(layer.packages) - len(shown)
        if limit is None:
            leaves += [Branch(package) for package in shown]
        elif layer.packages != (layer.title.replace(" ", "=="),):
            leaves.append(Branch(", ".join(shown) + (f" and {more} more" if more else "")))
    if holders:
        more = len(holders) - 3
        leaves.append(Branch(f"shared with {', '.join(holders[:3])}{f' and {more} more' if more > 0 else ''}"))
    return Branch(text, tuple(leaves))


def show(console: Console, branch: "Branch", data: object) -> None:
    """Print a tree: with colours on a terminal, as plain text elsewhere."""
    from wardian.plan.looking import lines

    if console.as_json or not sys.stdout.isatty():
        console.answer("\n".join(lines(branch)), data)
        return
    from rich.console import Console as Terminal

    Terminal(highlight=True).print(_rich(branch))


def _rich(branch: "Branch") -> object:
    from rich.markup import escape
    from rich.tree import Tree

    def grow(tree: Tree, from_: "Branch") -> Tree:
        for leaf in from_.leaves:
            grow(tree.add(escape(leaf.text)), leaf)
        return tree

    return grow(Tree(f"[bold]{escape(branch.text)}"), branch)
