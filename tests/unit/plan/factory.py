"""Locks, variants and wheels for tests of the plan."""

import hashlib
from collections.abc import Mapping
from typing import Any

from wardian.lock.model import Base, Deb, Lock, LockedImage, Tool
from wardian.lock.wheel import Wheel
from wardian.plan.debian import DEBIAN
from wardian.plan.images import Content, ImagePlan, plan
from wardian.spec.matrix import Variant, expand
from wardian.spec.models import Spec


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def deb(name: str, version: str = "1.0") -> Deb:
    return Deb(
        name=name,
        version=version,
        architecture="amd64",
        url=f"{DEBIAN}/pool/{name}_{version}_amd64.deb",
        sha256=sha(f"{name} {version}"),
        size=1000,
    )


def wheel(name: str, version: str = "1.0", size: int | None = 10_000, *, requested: bool = False) -> Wheel:
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return Wheel(name, version, filename, f"https://example.org/{filename}", sha(f"{name} {version}"), size, requested)


def tool(name: str, version: str = "1.0") -> Tool:
    found = wheel(name, version)
    return Tool(name=name, version=version, filename=found.filename, url=found.url, sha256=found.sha256)


def variants(**images: Mapping[str, Any]) -> tuple[Variant, ...]:
    return expand(Spec.model_validate({"project": {"name": "demo"}, "images": images}))


def locked(*, base: str | None = None, bootstrap: bool = False, **fields: Any) -> LockedImage:
    found = None
    if bootstrap:
        found = Base(reference="bootstrap:debian:bookworm", debs=(deb("base-files"), deb("dpkg")))
    elif base is not None:
        found = Base(reference=base, digest=f"sha256:{sha(base)}")
    return LockedImage.model_validate({"inputs": sha("inputs"), "base": found, **fields})


PYTHON: dict[str, Any] = {"python": "3.11", "interpreter": "/usr/bin/python3.11"}


def planned(
    images: Mapping[str, Mapping[str, Any]],
    lock: dict[str, LockedImage],
    contents: dict[str, Content] | None = None,
    *,
    epoch: int = 1_577_836_800,
) -> dict[str, ImagePlan]:
    """Plans by id."""
    made = plan("demo", variants(**images), Lock(images=lock), contents or {}, epoch=epoch)
    return {one.id: one for one in made}


def simple(*wheels: Wheel, **image: Any) -> ImagePlan:
    """One bootstrapped image with some wheels."""
    fields: dict[str, Any] = {"from": "bootstrap:debian:bookworm", "python": "3.11", **image}
    content = Content(pylock="lock", wheels=tuple(wheels))
    return planned({"train": fields}, {"train": locked(bootstrap=True, **PYTHON)}, {"train": content})["train"]
