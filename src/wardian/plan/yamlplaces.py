"""Image references in YAML: compose files, workflows of GitHub and GitLab.

Sources: compose-spec 05-services.md; GitHub's workflow syntax (container, services, uses); GitLab's .gitlab-ci.yml
reference (image, services).
"""

from collections.abc import Iterator

import yaml

from wardian.errors import WardianError
from wardian.plan.places import Place

_DOCKER = "docker://"


def images_of_yaml(text: str, kind: str) -> list[Place]:
    """The references of a file of a kind: compose, github or gitlab. An anchored one counts once."""
    try:
        documents = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise WardianError(f"not YAML: {where}{getattr(error, 'problem', None) or 'it cannot be read'}") from error
    finder = {"compose": _compose, "github": _github, "gitlab": _gitlab}[kind]
    found: dict[int, Place] = {}
    for document in documents:
        if not isinstance(document, yaml.MappingNode):
            raise WardianError("not a mapping at its top")
        for node in finder(document):
            place = _place(text, node)
            found[place.start] = place
    return list(found.values())


def _compose(top: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Images of services; one that is built here is what the build is called."""
    services = _get(top, "services")
    if services is None and _get(top, "include") is None:
        raise WardianError("not a compose file: it has no services")
    for service in _values(services):
        if _get(service, "build") is None:
            yield from _scalar(_get(service, "image"))


def _github(top: yaml.Node) -> Iterator[yaml.ScalarNode]:
    jobs, runs = _get(top, "jobs"), _get(top, "runs")
    if jobs is None and runs is None:
        raise WardianError("not a workflow: it has no jobs")
    for job in _values(jobs):
        container = _get(job, "container")
        yield from _scalar(container)
        yield from _scalar(_get(container, "image"))
        for service in _values(_get(job, "services")):
            yield from _scalar(_get(service, "image"))
        yield from _uses(_get(job, "steps"))
    yield from _uses(_get(runs, "steps"))
    yield from (node for node in _scalar(_get(runs, "image")) if node.value.startswith(_DOCKER))


def _uses(steps: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    for step in _items(steps):
        yield from (node for node in _scalar(_get(step, "uses")) if node.value.startswith(_DOCKER))


def _gitlab(top: yaml.Node) -> Iterator[yaml.ScalarNode]:
    for holder in (top, *_values(top)):
        image = _get(holder, "image")
        yield from _scalar(image)
        yield from _scalar(_get(image, "name"))
        for service in _items(_get(holder, "services")):
            yield from _scalar(service)
            yield from _scalar(_get(service, "name"))


def _place(text: str, node: yaml.ScalarNode) -> Place:
    """Where a value stands; one that is written with escapes or over several lines cannot be edited."""
    start, end = node.start_mark.index, node.end_mark.index
    if node.style in ("'", '"'):
        start, end = start + 1, end - 1
    value = node.value
    if text[start:end] != value:
        raise WardianError(
            f"line {node.start_mark.line + 1}: {value[:60]!r} is written in a way that cannot be edited",
            hint="write it on one line, without escapes",
        )
    if value.startswith(_DOCKER):
        start, value = start + len(_DOCKER), value.removeprefix(_DOCKER)
    return Place(start, end, value, node.start_mark.line + 1)


def _get(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == name:
                found: yaml.Node = value
                return found
    return None


def _values(node: yaml.Node | None) -> list[yaml.Node]:
    return [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else []


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _scalar(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode) and node.value:
        yield node
