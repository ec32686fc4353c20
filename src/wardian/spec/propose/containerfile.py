"""What a Dockerfile says, put where Wardian has a place for it."""

import re
from pathlib import PurePosixPath
from posixpath import basename, join, normpath

from wardian.spec.check import SECRET
from wardian.spec.propose.dockerfile import Instruction, filled, instructions, last_stage, pairs
from wardian.spec.propose.draft import Draft
from wardian.spec.propose.shell import beside, step

DISTRIBUTIONS = {
    "3.8": r"ubuntu[:-]?20\.04|ubuntu:focal",
    "3.10": r"ubuntu[:-]?22\.04|ubuntu:jammy",
    "3.11": r"debian:(?:12|bookworm)",
    "3.12": r"ubuntu[:-]?24\.04|ubuntu:noble",
    "3.13": r"debian:(?:13|trixie)",
}


class _Reader:
    """Goes through the instructions once; knows the variables and the working directory so far."""

    def __init__(self, draft: Draft, files: set[str]) -> None:
        self.draft = draft
        self.files = files
        self.known: dict[str, str] = {}
        self.workdir = "/"
        self.placed: dict[str, str] = {}  # path in the image → what was copied there

    def read(self, instruction: Instruction) -> None:
        actions = {
            "FROM": self.base, "ARG": self.argument, "ENV": self.environment, "LABEL": self.label, "RUN": self.run,
            "WORKDIR": self.directory, "COPY": self.copied, "ADD": self.copied, "EXPOSE": self.port,
            "ENTRYPOINT": self.start, "CMD": self.start,
        }  # fmt: skip
        actions.get(instruction.word, self.keep)(instruction)

    def keep(self, instruction: Instruction, why: str = "") -> None:
        """Leave an instruction as a comment."""
        options = "".join(f"--{name}={value} " if value else f"--{name} " for name, value in instruction.options)
        line = f"Dockerfile:{instruction.line}: {instruction.word} {options}{instruction.rest}"
        self.draft.left.append(f"{line}{f'   ({why})' if why else ''}")

    def base(self, instruction: Instruction) -> None:
        words = filled(instruction.rest, self.known).split()
        if not words or "$" in words[0] or words[0] == "scratch":
            self.keep(instruction, "the base is not certain")
            return
        self.draft.base = words[0]
        found = re.search(r"(?:^|/)python:(3\.\d+)", words[0])
        python = found[1] if found else next((v for v, p in DISTRIBUTIONS.items() if re.search(p, words[0])), None)
        self.draft.python = python
        if python and not found:
            self.draft.apt.append("python3")

    def argument(self, instruction: Instruction) -> None:
        name, _, value = instruction.rest.partition("=")
        if value and not SECRET.search(name.upper()):
            self.known[name.strip()] = filled(value.strip().strip("\"'"), self.known)

    def environment(self, instruction: Instruction) -> None:
        for name, raw in pairs(instruction.rest):
            value = filled(raw, self.known)
            if SECRET.search(name.upper()):
                where = f"Dockerfile:{instruction.line}: ENV {name}"
                self.draft.left.append(f'{where}   (a secret: write env-pass = ["{name}"] in [run])')
            elif "$" in value:
                where = f"Dockerfile:{instruction.line}: ENV {name}={value}"
                self.draft.left.append(f"{where}   (depends on a value that is not known here)")
            elif name != "DEBIAN_FRONTEND":
                self.known[name] = self.draft.env[name] = value

    def label(self, instruction: Instruction) -> None:
        self.draft.labels |= {name: filled(value, self.known) for name, value in pairs(instruction.rest)}

    def directory(self, instruction: Instruction) -> None:
        place = filled(instruction.rest.strip().strip("\"'"), self.known)
        if "$" in place:
            self.keep(instruction)
            return
        self.draft.workdir = self.workdir = normpath(join(self.workdir, place))

    def run(self, instruction: Instruction) -> None:
        if any(name == "mount" and "type=secret" in value for name, value in instruction.options):
            self.keep(instruction, "needs a secret")
            return
        words = instruction.words()
        if instruction.body is not None:
            line = instruction.body
        elif words is not None:
            from shlex import join as quoted

            line = quoted(words)
        else:
            line = instruction.rest
        known = {name: value for name, value in self.known.items() if name not in self.draft.env}
        for mount in (dict(part.partition("=")[::2] for part in value.split(",")) for _, value in instruction.options):
            if mount.get("type") == "bind" and {"source", "target"} <= mount.keys() and "from" not in mount:
                self.placed[normpath(join(self.workdir, mount["target"]))] = mount["source"]
        found = step(filled(line, known), self.where)
        found.left = [f"Dockerfile:{instruction.line}: {words}" for words in found.left]
        self.draft.add(found)

    def where(self, path: str) -> str | None:
        """The place in the project of a path in the image; None when nothing of the project was put there."""
        whole = normpath(join(self.workdir, path))
        for folder in (whole, *map(str, PurePosixPath(whole).parents)):
            if folder in self.placed:
                return normpath(join(self.placed[folder], whole[len(folder) :].lstrip("/")))
        return beside(path)

    def copied(self, instruction: Instruction) -> None:
        words = instruction.words() or tuple(filled(instruction.rest, self.known).split())
        options = dict(instruction.options)
        sources, target = words[:-1], words[-1:]
        odd = any(set(word) & set("*?$\"'") or "://" in word for word in words)
        if "from" in options or instruction.body is not None or not sources or odd:
            self.keep(instruction)
            return
        place = join(self.workdir, target[0])
        for source in sources:
            plain = normpath(source.lstrip("/"))
            into = place.endswith("/") or len(sources) > 1 or place.rstrip("/") in {self.workdir, "/"}
            is_file = "." in basename(plain) and plain != "."
            whole = normpath(join(place, basename(plain)) if into and is_file else place)
            self.placed[whole] = plain
            # The project itself is at the workdir when a program runs; what asks for distributions, the lock reads.
            if plain != "." and not (plain in self.files and (plain.endswith(".txt") or plain == "pyproject.toml")):
                self.draft.copy.append({"source": plain, "target": whole})

    def start(self, instruction: Instruction) -> None:
        words = instruction.words()
        argv = list(words) if words is not None else ["/bin/sh", "-c", instruction.rest]
        if instruction.word == "CMD":
            self.draft.command = argv
        else:
            self.draft.entrypoint = argv

    def port(self, instruction: Instruction) -> None:
        for word in filled(instruction.rest, self.known).split():
            number = word.partition("/")[0]
            if number.isdecimal() and number.isascii() and 0 < int(number[:6]) < 65536:
                self.draft.ports[f"port-{int(number)}"] = int(number)
            else:
                self.keep(instruction)


def add_dockerfile(draft: Draft, content: str, files: set[str]) -> None:
    """Dockerfile: its last stage and those it stands on; what has no place is kept as a comment."""
    reader = _Reader(draft, files)
    every = list(instructions(content))
    wanted = last_stage(every)
    for instruction in wanted:
        reader.read(instruction)
    if sum(one.word == "FROM" for one in every) > sum(one.word == "FROM" for one in wanted):
        draft.notes.append("the Dockerfile has several stages; the last one was read, and those it stands on")
