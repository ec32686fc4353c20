"""The passwd and group files of a container: the image's own, with the caller's entry in front."""

from wardian.plan.containers import User

LARGEST = 2**31 - 1  # bwrap and the engines read ids as an int
STAND_IN = 1000  # inside, for a caller whose id they cannot read; on the host everything stays the caller's


def renamed(user: User) -> User:
    """The user with ids that bwrap and the engines can read: for who is the caller whatever number it has inside."""
    if max(user.uid, user.gid) <= LARGEST:
        return user
    uid, gid = (one if one <= LARGEST else STAND_IN for one in (user.uid, user.gid))
    return User(user.mode, uid, gid, user.name, user.home)


def passwd(text: str, user: User, shell: str = "/bin/sh") -> str:
    """An image's passwd with the user first, so that it wins over an entry with the same uid or name.

    All entries of the image stay: a program that looks up ``www-data`` still finds it. Source: passwd(5).
    """
    entry = f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:{shell}"
    return _first(entry, text, known=user.uid == 0 and _names(text, 0))


def group(text: str, user: User) -> str:
    """The same for the group file, with the user's own group first."""
    return _first(f"{user.name}:x:{user.gid}:", text, known=_names(text, user.gid))


def _first(entry: str, text: str, *, known: bool) -> str:
    if known:
        return text
    rest = text if not text or text.endswith("\n") else text + "\n"
    return f"{entry}\n{rest}"


def _names(text: str, number: int) -> bool:
    """Whether some entry has this id in its third field."""
    return any(len(parts) > 2 and parts[2] == str(number) for parts in (line.split(":") for line in text.splitlines()))
