"""What a conda environment file says, as far as PyPI and Debian have it too."""

import re

from wardian.spec.propose.draft import Draft
from wardian.spec.propose.names import APT, BESIDE, CUDA, PYPI, SAME
from wardian.spec.propose.shell import pip

# Source: conda's MatchSpec: [channel::]name, then "=1.2", "=1.2=build", " >=1,<2", "==1.2".
MATCH = re.compile(r"(?:[^:\s]*::)?([A-Za-z0-9_.-]+?)\s*(?:([=<>!~][^=\s]*.*)|\s(.+))?")
EXACT = re.compile(r"={0,2}\s*([0-9][A-Za-z0-9._]*?)(\.?\*)?(?:=\S*)?")
RANGE = re.compile(r"(?:(?:>=|<=|==|!=|~=|<|>)\s*[0-9][A-Za-z0-9.*]*\s*,?\s*)+")


def add_environment(draft: Draft, name: str, content: str) -> None:
    """environment.yml: Python's version, packages that have another home, the pip section; the rest is said."""
    data = draft.read_yaml(name, content)
    unmapped: list[str] = []
    entries = data.get("dependencies")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            for line in entry.get("pip") or []:
                _pip(draft, str(line).strip())
        elif isinstance(entry, str) and not _mapped(draft, entry.strip()):
            unmapped.append(entry.strip())
    draft.left += [f"{name}: {entry}" for entry in unmapped]
    if unmapped:
        draft.notes.append(f"not known outside conda: {', '.join(unmapped)}")
    variables = data.get("variables")
    if isinstance(variables, dict):
        draft.env |= {str(key): str(value) for key, value in variables.items()}


def _pip(draft: Draft, line: str) -> None:
    if not line.startswith("-"):
        draft.requirements += [line] if line else []
    elif not pip(line.split(), draft):
        draft.left.append(f"pip: {line}")


def _mapped(draft: Draft, entry: str) -> bool:
    """Put a conda package where it belongs; False when that is not known."""
    found = MATCH.fullmatch(entry)
    if not found:
        return False
    name, version = found[1].lower(), (found[2] or found[3] or "").strip()
    if name == "python":
        return _python(draft, version)
    if name in BESIDE:
        return True
    if name.startswith(CUDA) or name == "pytorch-cuda":
        return _cuda(draft, name, version)
    if name in APT:
        draft.apt += APT[name]  # Debian has one version of each: conda's does not apply
        return True
    if name not in PYPI and name.replace("_", "-") not in SAME and name not in SAME:
        return False
    wanted = _specifier(version)
    if wanted is None:
        return False
    draft.requirements.append(f"{PYPI.get(name, name)}{wanted}")
    return True


def _python(draft: Draft, version: str) -> bool:
    if exact := re.match(r"={1,2}\s*(3\.\d+)", version):
        draft.python = exact[1]
    elif version:
        draft.requires = _specifier(version)
    return True


def _cuda(draft: Draft, name: str, version: str) -> bool:
    """CUDA's libraries come with PyTorch's own wheels, from an index for each version."""
    found = re.search(r"(\d+)\.(\d+)", version)
    if found and name in {"pytorch-cuda", "cudatoolkit", "cuda-toolkit", "cuda-version"}:
        index = f"https://download.pytorch.org/whl/cu{found[1]}{found[2]}"
        draft.left.append(f'{name} {version}: PyTorch brings its own CUDA; for this one write index = ["{index}"]')
    return True


def _specifier(version: str) -> str | None:
    """A conda version as PEP 440 has it, or None. ``=1.26`` means 1.26.*; one with three parts is taken as exact."""
    if not version or version == "*":
        return ""
    if exact := EXACT.fullmatch(version):
        number, star = exact[1].rstrip("."), exact[2]
        fuzzy = star or (version[:1] == "=" and number.count(".") < 2 and version.count("=") == 1)
        return f"=={number}.*" if fuzzy else f"=={number}"
    return re.sub(r"\s+", "", version).rstrip(",") if RANGE.fullmatch(version) else None
