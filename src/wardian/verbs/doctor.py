"""`wardian doctor`: what is here, what is missing and how to get it."""

from typing import TYPE_CHECKING

import click

from wardian.verbs import verb
from wardian.workspace import Workspace

if TYPE_CHECKING:
    from wardian.hosts.machine import Machine
    from wardian.hosts.survey import Finding

MARKS = {"ok": "✓", "missing": "✗", "note": "·"}


@verb("doctor", example="wardian doctor\nwardian doctor --network")
@click.option("--network", is_flag=True, help="Also try to reach the package indexes and Debian's mirror.")
def command(workspace: Workspace, network: bool) -> int:  # noqa: FBT001 - click hands flags over
    """Say what is on this machine, what is missing, what it is needed for, and the line that gets it.

    The exit code is 0 when images can be run here.
    """
    from wardian.hosts.machine import read_machine
    from wardian.hosts.survey import survey, works
    from wardian.runtimes import loader

    machine = read_machine(workspace.environ)
    findings = survey(workspace.host, workspace.environ, workspace.home, machine)
    findings += [loader(name).finding(workspace.host) for name in ("docker", "podman")]
    if network:
        findings += reached(workspace, machine)
    well = works(findings)
    data = {"works": well, "findings": [finding.to_json() for finding in findings]}
    workspace.console.answer("\n".join(told(findings, well=well)), data)
    return 0 if well else 1


def told(findings: "list[Finding]", *, well: bool) -> list[str]:
    """The findings as lines, what is missing with its remedy beneath, and the verdict."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{MARKS[finding.state]} {finding.name.ljust(width)}  {finding.said}")
        if finding.state == "missing":
            lines.append(f"  {' ' * width}  needed for {finding.needed_for}; {finding.fix}")
    if not well:
        return [*lines, "images cannot be built and run here yet"]
    missing = any(finding.state == "missing" for finding in findings)
    return [*lines, f"images can be run here, and built{' unless they need what is missing' if missing else ''}"]


def reached(workspace: Workspace, machine: "Machine") -> "list[Finding]":
    """Whether the places that packages come from answer."""
    from pathlib import Path

    from wardian.errors import WardianError
    from wardian.hosts.machine import local_path
    from wardian.hosts.survey import Finding
    from wardian.plan import debian
    from wardian.registry.transport import Transport

    findings = []
    bundle = Path(machine.ca_bundle) if machine.ca_bundle and Path(machine.ca_bundle).is_file() else None
    with Transport(workspace.environ, ca_bundle=bundle, attempts=2) as transport:
        for url in (*(f"{index}/" for index in machine.indexes if local_path(index) is None), debian.RELEASE):
            try:
                response = transport.get(url, {})
                response.close()
            except WardianError as error:
                findings.append(Finding("reach", "missing", error.message, f"lock: {url}", error.hint or "try again"))
            else:
                good = response.status_code < 400 or response.status_code in (401, 403, 404)
                said = f"{url} answers {response.status_code}"
                findings.append(
                    Finding("reach", "ok" if good else "missing", said, "lock", "" if good else "try again later")
                )
    return findings
