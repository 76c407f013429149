#!/usr/bin/env bash
# Build the sdist and the wheel, and try both in bare environments, away from the repository: the first command,
# what ships (machines, models, runs), an extra that is asked for where it is missing, the local page.
set -euo pipefail
cd "$(dirname "$0")/.."
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
python3 -m venv "$there/builder"
"$there/builder/bin/pip" install --quiet build
"$there/builder/bin/python" -m build --outdir "$there/dist" . >"$there/build.log" 2>&1 || { cat "$there/build.log"; exit 1; }
first="compare dgx-h100 dgx-a100-80 --model gpt3-13b --gpus 16 --global-batch 32"
for file in "$there"/dist/*.whl "$there"/dist/*.tar.gz; do
  bare=$there/bare
  rm -rf "$bare" && python3 -m venv "$bare" && "$bare/bin/pip" install --quiet "$file"
  cd "$there"
  unset PYTHONPATH
  # shellcheck disable=SC2086
  "$bare/bin/rackmodel" $first >/dev/null
  machines=$("$bare/bin/rackmodel" list topologies --json | grep -c '"name"')
  [ "$machines" -ge 50 ] || { echo "$file ships $machines machines"; exit 1; }
  "$bare/bin/rackmodel" list models --json >/dev/null
  "$bare/bin/python" -c "import rackmodel.cli.page.commands, pathlib as p
here = p.Path(rackmodel.cli.page.commands.__file__).parent
assert {'index.html', 'page.css', 'page.js'} <= {one.name for one in here.iterdir()}"
  if "$bare/bin/rackmodel" app --no-browser 2>"$there/app.txt"; then exit 1; fi
  grep -q "pip install 'rackmodel\[app\]'" "$there/app.txt"
  echo "$(basename "$file"): first command, $machines machines, page"
  cd - >/dev/null
done
