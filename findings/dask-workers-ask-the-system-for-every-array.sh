#!/usr/bin/env bash
# distributed 2026.8.0, NumPy 2.4.6, glibc.
#
# Guess: a loop over arrays of a few hundred kilobytes takes the memory of the array
#        before in a worker of Dask, as in any other Python process.
# Found: in the worker every array is new memory from the system, some hundred page
#        faults each. Dask starts its workers with MALLOC_TRIM_THRESHOLD_ of 64 KiB
#        (distributed.yaml, `pre-spawn-environ`), so that they give memory back. In
#        glibc any setting of that threshold also ends the growth of the other one, from
#        which memory is mapped: it stays at 128 KiB (mallopt(3), M_MMAP_THRESHOLD).
#
# Prints the page faults of the loop in a plain process and in a worker, and fails if
# this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  distributed==2026.8.0 numpy==2.4.6
cat >"$folder/faults.py" <<'PYTHON'
import subprocess
import sys


def faults():
    import resource

    import numpy as np

    x = np.ones(100_000, np.float32)  # 400 kB
    for _ in range(100):
        x * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(1000):
        x * 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if __name__ == "__main__":
    if sys.argv[1:]:
        print(faults())
        sys.exit()
    from distributed import Client, LocalCluster

    alone = int(subprocess.run([sys.executable, __file__, "alone"],
                               capture_output=True, check=True).stdout)
    with LocalCluster(n_workers=1, threads_per_worker=1,
                      dashboard_address=None) as cluster, Client(cluster) as client:
        worker = client.submit(faults).result()
    print("page faults of a thousand products of 400 kB")
    print("a plain process: ", alone)
    print("a worker of Dask:", worker)
    sys.exit(not (alone < 1000 and worker > 50_000))
PYTHON
cd "$folder"
"$folder/venv/bin/python" "$folder/faults.py"
