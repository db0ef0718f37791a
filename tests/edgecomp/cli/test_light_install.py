"""Without the `compress` extra: containers are opened, decoded and inspected with no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import edgecomp
from edgecomp.encode import LatticeSettings

BLOCKED = """
import sys

class Refuse:
    names = {"torch", "transformers", "safetensors", "tokenizers", "huggingface_hub"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""
DECODE = """
import devices, edgecomp, exporters, runtime_ops
from pathlib import Path
from exporters.gguf import open_container
from runtime_ops import reference
from runtime_ops.native import NativeContainer
path = Path(sys.argv[1])
native = NativeContainer(path.read_bytes())
with open_container(path) as container:
    assert container.verify() == []
    for entry in container.tensors:
        decoded = reference.decode(container.read(entry.name))
        assert decoded.tobytes() == native.decode(entry.name).tobytes()
print(len(native.names), edgecomp.inspect(path).file_bytes)
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_containers_without_the_extra(tmp_path: Path, tiny: Path) -> None:
    out = tmp_path / "m.gguf"
    edgecomp.compress(tiny, out, LatticeSettings(group=16))
    child = run(DECODE, out)
    assert child.stderr == ""
    assert child.stdout.split() == ["20", str(out.stat().st_size)]
    main = "from edgecomp.cli import main; main()"
    shown = run(main, "inspect", out, "--verify")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "checksums: all right" in shown.stdout
    text = tmp_path / "text.txt"
    text.write_text("words")
    (tiny / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}, "merges": []}}')
    judged = run(main, "eval", out, "--against", tiny, "--text", text)
    assert judged.returncode == 1
    assert judged.stderr.splitlines() == [
        "error: tokenizers is not installed, this command needs it",
        "hint: pip install 'edgecomp[compress]'",
    ]
    hub = run(main, "compress", "owner/name", "-o", tmp_path / "x.gguf")
    assert "huggingface_hub is not installed" in hub.stderr
