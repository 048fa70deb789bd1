#!/usr/bin/env bash
# Build the kernels with the address and undefined-behaviour sanitizers, away from the
# installed ones, and run the kernel tests with them: tests/sanitize.sh [pytest options]
# or give them what nobody should: tests/sanitize.sh --fuzz [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/nuhtc"
cp -r native "$work/native"
rm -f "$work"/native/*.so "$work"/native/*.c
for room in training export runtime; do ln -s "$PWD/$room" "$work/nuhtc/$room"; done
ln -s "$work/native" "$work/nuhtc/native"

flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1 -O1"
include="$(python -c 'import numpy, sysconfig
print("-I" + numpy.get_include(), "-I" + sysconfig.get_path("include"))')"
suffix=$(python -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
(
  cd "$work"
  builds=()
  for source in native/*.pyx; do
    name=$(basename "$source" .pyx)
    python -m cython -3 --module-name "nuhtc.native.$name" "$source" -o "native/$name.c"
    # shellcheck disable=SC2086
    gcc -shared -fPIC -fwrapv $flags $include "native/$name.c" -o "native/$name$suffix" &
    builds+=($!)
  done
  for build in "${builds[@]}"; do wait "$build"; done
)

# The interpreter is not built with the sanitizers: their runtimes are loaded first, and what
# Python itself leaves allocated at its end is no leak of the kernels.
export PYTHONPATH="$work:$PWD/tests" PYTHONDONTWRITEBYTECODE=1
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
if [[ "${1:-}" == --fuzz ]]; then
  python tests/fuzz_kernels.py "${2:-180}"
  exit
fi
WORK="$work" python -c '
import os, sys
from pathlib import Path
import pytest
import nuhtc.native.outlines as kernel
assert Path(kernel.__file__).resolve().is_relative_to(Path(os.environ["WORK"]).resolve())
sys.exit(pytest.main(sys.argv[1:]))
' -p no:cacheprovider -q tests/native --deselect tests/native/test_kernel_benchmark.py \
  --deselect tests/native/test_stitch_benchmark.py "$@"
