"""Run the Dockerfile's own lines in a bare environment, where no daemon builds it.

In:  the Dockerfile; Python with venv.
Out: exit 1 where its `pip install --prefix` fails, or its ENTRYPOINT with its CMD does.
Left out: the base image and its user.

`/usr/local` of the image, which what is installed is copied to, is an environment of its own here.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def found(pattern: str, text: str) -> str:
    """Return what a line of the Dockerfile holds; it has to be there once."""
    (one,) = re.findall(pattern, text, re.MULTILINE)
    return str(one)


def main() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    install = shlex.split(found(r"^RUN (pip install .*)$", text))
    copied = found(r"^COPY --from=build (\S+) /usr/local$", text)
    source = found(r"^COPY \. (\S+)$", text)
    command = [
        *json.loads(found(r"^ENTRYPOINT (.*)$", text)),
        *json.loads(found(r"^CMD (.*)$", text)),
    ]
    with tempfile.TemporaryDirectory(prefix="rackmodel-image-") as folder:
        there = Path(folder)
        venv.create(there, with_pip=True)
        here = {f"--prefix={copied}": f"--prefix={there}"}
        words = [here.get(word, word).replace(source, str(ROOT)) for word in install]
        subprocess.run([there / "bin" / words[0], *words[1:], "--quiet"], check=True)
        done = subprocess.run(
            [there / "bin" / command[0], *command[1:]],
            cwd=there,
            env={"PATH": f"{there}/bin"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    machines = [word for word in command[2:5] if word in done.stdout]
    if machines != command[2:5]:
        sys.exit(f"the CMD of the Dockerfile shows {machines} of {command[2:5]}")
    print(f"Dockerfile: installed, {' '.join(command[:5])} ... answers")


if __name__ == "__main__":
    main()
