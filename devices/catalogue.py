"""The profiles that ship with edgecomp, and how people name them.

An id is the name of a file in devices/profiles without `.toml`. Names are compared without case,
blanks, hyphens and underscores.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from devices.profile import Profile, ProfileError
from devices.profile_file import read_profile

__all__ = ["find_profile", "packaged_profile", "profile_ids", "same_name"]

SUFFIX = ".toml"
NEAREST = 3  # names that an unknown one is compared with in the hint
LIKENESS = 0.6  # of an unknown name with one that the hint gives


def profile_ids() -> list[str]:
    """The ids of all packaged profiles, sorted."""
    return sorted(path.stem for path in packaged_files())


def packaged_profile(device: str) -> Profile:
    """The packaged profile of an id. OSError; ProfileError for a damaged one."""
    return read_profile(packaged_path(device))


def find_profile(name_or_path: str) -> Profile:
    """The profile of an id, an alias or a file. OSError; ProfileError if there is none.

    What ends with .toml, has a folder in it or is a file is read; everything else is a name.
    """
    path = Path(name_or_path)
    if path.suffix == SUFFIX or len(path.parts) > 1 or os.path.isfile(path):
        return read_profile(path)
    ids = {same_name(device): device for device in profile_ids()}
    wanted = same_name(name_or_path)
    if wanted in ids:
        return packaged_profile(ids[wanted])
    for device in ids.values():
        try:
            profile = packaged_profile(device)
        except (OSError, ProfileError):
            continue  # a damaged profile hides no other; asked for by its id, it says what is wrong
        if wanted in map(same_name, (*profile.aliases, profile.name)):
            return profile
    raise unknown(name_or_path)


def same_name(name: str) -> str:
    """What two ways to write one name have in common."""
    return "".join(letter for letter in name.casefold() if letter not in " -_")


def unknown(name: str) -> ProfileError:
    """The error for a name that no profile has, with the nearest ones."""
    names = dict(known_names())
    near = difflib.get_close_matches(same_name(name), names, n=2 * NEAREST, cutoff=LIKENESS)
    ids = list(dict.fromkeys(names[each] for each in near))[:NEAREST]
    listed = "`edgecomp devices list` names all"
    hint = f"the nearest: {', '.join(ids)}; {listed}" if ids else f"{listed}; FILE.toml is one too"
    return ProfileError(f"no device {name!r}", hint)


def known_names() -> Iterator[tuple[str, str]]:
    """Names as they are compared, with the id of their profile."""
    for device in profile_ids():
        yield same_name(device), device
        try:
            profile = packaged_profile(device)
        except (OSError, ProfileError):
            continue
        yield from ((same_name(alias), device) for alias in (*profile.aliases, profile.name))


def packaged_path(device: str) -> Path:
    return next(path for path in packaged_files() if path.stem == device)


@cache
def packaged_files() -> tuple[Path, ...]:
    """The files of the package; it is installed as files, so resources are paths."""
    folder = Path(str(files("devices") / "profiles"))
    return tuple(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))
