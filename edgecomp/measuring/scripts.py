"""What runs in the device's shell: POSIX sh on one line, without backslashes or single quotes.

Every script says BEGIN before and END with its exit status behind what it prints, so that greetings
of a login shell are not taken for answers, and a cut connection not for an end.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["BEGIN", "END", "FOLDER", "keeper", "program", "receive", "whole"]

BEGIN = "@edgecomp-begin"
END = "@edgecomp-end"
FOLDER = "folder "
PLACEHOLDER = "edgecomp.XXXXXXXX"

# Ends the measurement, then removes the folder; twice, should a file have come in meanwhile.
FINISH = (
    'finish() { trap "" HUP INT TERM; kill $reader $timer; '
    '[ -n "$d" ] || return; [ -s "$d/pid" ] && kill "$(cat "$d/pid")"; '
    'rm -rf "$d" || { sleep 1; rm -rf "$d"; }; } 2>/dev/null'
)
# A folder in a place where programs may run, told by running one.
CHOOSE = (
    "d=; for base in %s; do "
    '[ -n "$base" ] && [ -d "$base" ] && d=$(mktemp -d "$base/' + PLACEHOLDER + '") || continue; '
    '{ echo "#!$(command -v sh)" && echo "exit 0"; } > "$d/try" && chmod 700 "$d/try" '
    '&& "$d/try" && rm "$d/try" && break; rm -rf "$d"; d=; done'
)
# Until stdin ends, which it does with the connection, or for as long as a measurement may take.
HOLD = (
    "exec 3<&0; { while read -r line; do :; done; kill $$; } <&3 >/dev/null 2>&1 & reader=$!; "
    "sleep %d </dev/null >/dev/null 2>&1 & timer=$!; exec 3<&-; wait $timer"
)


def whole(script: str) -> str:
    """The script between BEGIN and END; its status comes with END."""
    return f"echo {BEGIN}; ( {script} ); code=$?; echo; echo {END} $code"


def keeper(folders: Sequence[str], seconds: int) -> str:
    """Makes a folder, says its name, and removes it when stdin ends or a signal comes."""
    return (
        f"reader= timer= d=; {FINISH}; trap finish EXIT; "
        f'trap "exit 1" HUP INT TERM; echo {BEGIN}; {CHOOSE % " ".join(folders)}; '
        f'[ -n "$d" ] || {{ echo; echo {END} 1; exit 1; }}; echo "{FOLDER}$d"; {HOLD % seconds}'
    )


def receive(folder: str, name: str) -> str:
    """Takes a file from stdin, says its size."""
    path = f"{shell_word(folder)}/{name}"
    return whole(f"cat > {path} && wc -c < {path}")


def program(folder: str, words: Sequence[str]) -> str:
    """Runs words in the folder; `pid` names who must end before the folder goes."""
    command = " ".join(map(shell_word, words))
    inside = f"cd {shell_word(folder)} || exit 1; {command} & echo $! > pid; wait $!"
    return whole(inside)


def shell_word(text: str) -> str:
    """Text as a word of sh, in double quotes."""
    special = '"$`' + chr(92)
    return '"' + "".join(chr(92) + c if c in special else c for c in text) + '"'
