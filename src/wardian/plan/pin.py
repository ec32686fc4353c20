"""Image references in files of those who use images: where they stand, and the text with digests behind them.

Dockerfiles (FROM, COPY --from), compose files, workflows of GitHub and GitLab, wardian.toml. Everything else of a text
stays as it is, byte for byte; what cannot be read with certainty is refused.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wardian.errors import WardianError
from wardian.oci.reference import Reference
from wardian.plan.dockerlines import images_of_dockerfile
from wardian.plan.places import Place

_FROM = r"""(?m)^(?P<head>[^#\n]*?["']?\bfrom["']?[ \t]*=[ \t]*)(?P<quote>["'])%s(?P=quote)"""
_VARIABLE = re.compile(r"\$|\{")


@dataclass(frozen=True, slots=True)
class Pin:
    """A reference in a text, and what it shall be; ``after`` is None for one that only another place decides."""

    place: Place
    after: str | None

    @property
    def changes(self) -> bool:
        """Whether the text is another one afterwards."""
        return self.after is not None and self.after != self.place.text


def kind_of(path: str) -> str:
    """How a file is read, by its name: dockerfile, compose, github, gitlab or toml.

    >>> kind_of(".github/workflows/test.yml"), kind_of("Dockerfile.dev"), kind_of("docker-compose.ci.yaml")
    ('github', 'dockerfile', 'compose')
    """
    name = path.rpartition("/")[2]
    if re.fullmatch(r"(?i)(dockerfile|containerfile)(\..*)?|.*\.(dockerfile|containerfile)", name):
        return "dockerfile"
    if name.endswith(".toml"):
        return "toml"
    if re.fullmatch(r".*\.ya?ml", name):
        if re.search(r"(^|/)\.github/workflows/", path) or re.fullmatch(r"action\.ya?ml", name):
            return "github"
        if re.fullmatch(r".*\.?gitlab-ci\.ya?ml", name):
            return "gitlab"
        if re.fullmatch(r"(docker-)?compose(\..*)?\.ya?ml|.*\.compose\.ya?ml", name):
            return "compose"
    raise WardianError(
        f"{path} is no file that images are used in, by its name",
        hint="name a Dockerfile, compose file, workflow or wardian.toml; others are told by --as",
    )


def places(text: str, kind: str) -> list[Place]:
    """Every image reference of a text, in order. Raises ``WardianError`` for a text that is not of its kind."""
    if kind == "dockerfile":
        found = list(images_of_dockerfile(text))
    elif kind == "toml":
        found = list(_of_toml(text))
    else:
        from wardian.plan.yamlplaces import images_of_yaml

        found = images_of_yaml(text, kind)
    return sorted(found, key=lambda place: place.start)


def is_variable(place: Place) -> bool:
    """Whether a reference is only known when the file is used."""
    return _VARIABLE.search(place.text) is not None


def means(place: Place, wanted: str | None) -> bool:
    """Whether a place names the repository of ``wanted``; without it, any does."""
    if wanted is None:
        return True
    try:
        here, there = Reference.parse(place.text), Reference.parse(wanted)
    except WardianError:
        return False
    return (here.registry, here.repository) == (there.registry, there.repository)


def tag_of(text: str) -> str | None:
    """The tag that a reference says itself; one with a digest alone has none, one with neither means ``latest``."""
    name, at, _ = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and head and "/" not in tag:
        return tag
    return None if at else "latest"


def written(text: str, tag: str, digest: str) -> str:
    """The reference as it was written, with another tag and digest.

    >>> written("debian", "latest", "sha256:abc")
    'debian:latest@sha256:abc'
    """
    name = text.partition("@")[0]
    head, colon, last = name.rpartition(":")
    bare = head if colon and "/" not in last else name
    return f"{bare}:{tag}@{digest}"


def replaced(text: str, kind: str, pins: Sequence[Pin]) -> str:
    """The text with the pins in it, read again: every place must say what it shall, and nothing else be moved."""
    parts, at = [], 0
    for pin in pins:
        if pin.after is not None:
            parts += [text[at : pin.place.start], pin.after]
            at = pin.place.end
    made = "".join([*parts, text[at:]])
    wanted = [pin.after or pin.place.text for pin in pins]
    if [place.text for place in places(made, kind)] != wanted:
        raise WardianError("the file does not read as it should after the change; nothing is written")
    return made


def _of_toml(text: str) -> Iterator[Place]:
    """``from`` of each image of a project that stands on a registry's image."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WardianError(f"not TOML: {error}") from error
    images = data.get("images") or data.get("tool", {}).get("wardian", {}).get("images") or {}
    listed = [one.get("from") for one in images.values() if isinstance(one, dict)] if isinstance(images, dict) else []
    values = {value for value in listed if isinstance(value, str) and not value.startswith(("@", "bootstrap:"))}
    for value in sorted(values):
        found = list(re.finditer(_FROM % re.escape(value), text))
        if len(found) != listed.count(value):
            raise WardianError(f"cannot tell where {value!r} stands in the file", hint='write it as: from = "…"')
        for match in found:
            start = match.end("head") + 1
            yield Place(start, start + len(value), value, text.count("\n", 0, start) + 1)
