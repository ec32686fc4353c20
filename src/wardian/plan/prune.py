"""Retention: which manifests of a repository may go when only the newest tags of a pattern are kept.

A digest goes when all its tags go, and nothing that stays needs it: no kept tag names it, no kept index lists it, and
it is neither what a kept manifest speaks of nor what speaks of one (SBOMs, signatures).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from wardian.errors import SpecError

_BESIDE = re.compile(r"sha256-([0-9a-f]{64})(?:\.[a-z]+)?")  # the referrers tag schema; cosign adds .sig, .att, .sbom


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest of a repository. ``children`` are an index's, ``subject`` is what it speaks of."""

    digest: str
    tags: tuple[str, ...] = ()
    created: str | None = None  # RFC 3339
    size: int = 0  # bytes of config and layers
    platforms: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Pruning:
    """What goes, what has to be gone before what; and why tags that are too old stay all the same."""

    going: tuple[Stored, ...]
    kept: tuple[tuple[str, str], ...]  # (tag, digest) of every tag that stays
    staying: tuple[tuple[str, str], ...]  # (tag, why)


def retention(words: Iterable[str], table: Mapping[str, int]) -> dict[str, int]:
    """``PATTERN=N`` of the command line over the file's table.

    >>> retention(["nightly-*=3"], {"stable-*": 2})
    {'stable-*': 2, 'nightly-*': 3}
    """
    found = dict(table)
    for word in words:
        pattern, equals, count = word.rpartition("=")
        if not equals or not pattern or not (count.isascii() and count.isdigit()):
            raise SpecError(f"--keep {word!r} is not PATTERN=NUMBER", hint="as in: --keep 'nightly-*=3'")
        found[pattern] = int(count)
    return found


def prune(stored: Sequence[Stored], keep: Mapping[str, int]) -> Pruning:
    """Plan one repository. Tags that no pattern matches stay."""
    by_digest = {one.digest: one for one in stored}
    old = _old(stored, keep)
    roots = {
        one.digest: tag
        for one in stored
        for tag in one.tags
        if tag not in old and (subject_of(tag) is None or subject_of(tag) not in by_digest)
    }
    needed = _needed(stored, roots)
    going = _going(stored, by_digest, needed, old)
    gone = {one.digest for one in going}
    kept = tuple(sorted((tag, one.digest) for one in stored if one.digest not in gone for tag in one.tags))
    staying = tuple((tag, _why(by_digest[digest], old, needed)) for tag, digest in kept if tag in old)
    return Pruning(going, kept, staying)


def subject_of(tag: str) -> str | None:
    """What a tag of the referrers tag schema speaks of; None for any other tag."""
    match = _BESIDE.fullmatch(tag)
    return f"sha256:{match[1]}" if match else None


def newest_first(stored: Iterable[Stored]) -> list[Stored]:
    """By the time in the configs, if all have one; equal times (reproducible images have one time) by their tags."""
    listed = list(stored)
    timed = all(one.created for one in listed)

    def rank(one: Stored) -> tuple[str, list[tuple[int, int, str]]]:
        return (one.created or "") if timed else "", max(map(natural, one.tags), default=[])

    return sorted(listed, key=rank, reverse=True)


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key that reads numbers as numbers: v10 comes after v9.

    >>> sorted(["v10", "v9"], key=natural)
    ['v9', 'v10']
    """
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    plain = [part.lstrip("0") if part.isascii() and part.isdigit() else None for part in parts]
    # a longer number is a larger one; int() refuses those that are longer than a registry should let a tag be
    return [(0, 0, part) if one is None else (1, len(one), one) for part, one in zip(parts, plain, strict=True)]


def _old(stored: Sequence[Stored], keep: Mapping[str, int]) -> set[str]:
    """The tags that some pattern matches and none keeps. A pattern keeps digests: two tags of one count once."""
    matched: set[str] = set()
    kept: set[str] = set()
    for pattern, count in keep.items():
        group = []
        for one in stored:
            tags = tuple(tag for tag in one.tags if fnmatchcase(tag, pattern) and subject_of(tag) is None)
            if tags:
                group.append(Stored(one.digest, tags, one.created))
        matched.update(tag for one in group for tag in one.tags)
        kept.update(tag for one in newest_first(group)[:count] for tag in one.tags)
    return matched - kept


def _needed(stored: Sequence[Stored], roots: Mapping[str, str]) -> dict[str, str]:
    """Every digest that must stay, each with the tag for whose sake."""
    by_digest = {one.digest: one for one in stored}
    speaking: dict[str, list[str]] = {}
    for one in stored:
        for subject in _subjects(one):
            speaking.setdefault(subject, []).append(one.digest)
    needed: dict[str, str] = {}
    waiting = list(roots.items())
    while waiting:
        digest, tag = waiting.pop()
        if digest in needed:
            continue
        needed[digest] = tag
        known = by_digest.get(digest)
        near = [*known.children, *_subjects(known)] if known else []
        waiting += [(other, tag) for other in (*near, *speaking.get(digest, ()))]
    return needed


def _subjects(one: Stored) -> list[str]:
    named = [subject for tag in one.tags if (subject := subject_of(tag))]
    return [*named, *([one.subject] if one.subject else [])]


def _going(
    stored: Sequence[Stored], by_digest: Mapping[str, Stored], needed: Mapping[str, str], old: set[str]
) -> tuple[Stored, ...]:
    """What goes: what only old tags name, what only that lists, what speaks only of that."""
    waiting = [one for one in stored if one.digest not in needed and one.tags and set(one.tags) <= old]
    found: dict[str, Stored] = {}
    while waiting:
        one = waiting.pop(0)
        if one.digest in found or one.digest in needed:
            continue
        found[one.digest] = one
        behind = [by_digest[child] for child in one.children if child in by_digest]
        behind += [other for other in stored if one.digest in _subjects(other)]
        waiting += [other for other in behind if all(subject_of(tag) or tag in old for tag in other.tags)]
    return _ordered(found)


def _ordered(found: Mapping[str, Stored]) -> tuple[Stored, ...]:
    """Who lists something before what it lists; as far as that allows, images before what speaks of them.

    So half the work breaks nothing: a registry may refuse to delete what an index still lists.
    """
    first: dict[str, list[str]] = {digest: [] for digest in found}
    for one in found.values():
        for child in one.children:
            if child in first:
                first[child].append(one.digest)
    order: dict[str, Stored] = {}
    seen: set[str] = set()

    def visit(digest: str) -> None:
        if digest in seen:
            return
        seen.add(digest)
        for other in first[digest]:
            visit(other)
        order[digest] = found[digest]

    for digest in sorted(found, key=lambda digest: _hops(digest, found)):
        visit(digest)
    return tuple(order.values())


def _hops(digest: str, found: Mapping[str, Stored]) -> int:
    """How far it is from something that speaks of nothing: a signature of an SBOM of an image is two away."""
    seen: set[str] = {digest}
    near = [digest]
    hops = -1
    while near:
        hops += 1
        near = [one for at in near for one in _subjects(found[at]) if one in found and one not in seen]
        seen.update(near)
    return hops


def _why(one: Stored, old: set[str], needed: Mapping[str, str]) -> str:
    others = [tag for tag in one.tags if tag not in old]
    if others:
        return f"{others[0]} is the same image"
    return f"{needed[one.digest]} needs it" if one.digest in needed else "it is needed"
