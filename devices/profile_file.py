"""Profiles as TOML files: reading with every check, and writing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec
import tomli_w

from devices.profile import Profile, ProfileError, check_profile

__all__ = ["read_profile", "write_profile"]

MOST_BYTES = 1 << 22  # of a file; one with all kernels on three kinds of cores has 30 KiB


def read_profile(path: Path) -> Profile:
    """The profile of a file. OSError; ProfileError in one line for what is wrong with it."""
    hint = "docs/devices.md says what a profile must hold"
    # A pipe's writer is not waited for; a folder is named by the system.
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ProfileError(f"{path}: not a regular file", hint)
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ProfileError(f"{path}: larger than {MOST_BYTES} bytes, no device profile", hint)
    try:
        profile = msgspec.toml.decode(content, type=Profile)
        check_profile(profile)
    except msgspec.ValidationError as error:
        raise ProfileError(f"{path}: {error}", hint) from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, ProfileError):
            raise ProfileError(f"{path}: {error}", error.hint) from error
        raise ProfileError(f"{path}: not TOML: {error}", hint) from error
    return profile


def write_profile(profile: Profile, path: Path) -> None:
    """Writes a profile that reads back the same; the file appears whole or not at all. OSError."""
    check_profile(profile)
    fields = without_nothing(msgspec.to_builtins(profile, str_keys=True))
    assert isinstance(fields, dict)
    text = tomli_w.dumps(fields)
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def without_nothing(value: object) -> object:
    """The value without keys that are None, which TOML does not have."""
    if isinstance(value, dict):
        return {key: without_nothing(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [without_nothing(each) for each in value]
    return value
