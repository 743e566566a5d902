"""The ratios that README.md and docs/benchmarks.md claim, measured again in one run: `python benchmarks/claims.py [--data FOLDER] [--only NAME …]`.

Each claim is the median ratio of one of the scripts beside this one, which runs both sides in turns. Prints a table: what is claimed, what this
machine gives, the command, its seconds; writes claims.json. All of it takes about 40 minutes on 2 cores, and nothing else may run meanwhile.
FOLDER holds hymenoptera/ and rt_polarity/; claims about them are left out without it. `--list` only lists them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A ratio.

    Args:
        name: what `--only` takes.
        says: the claim in words.
        claimed: the ratio in docs/benchmarks.md.
        command: a script of this folder and its arguments; `{data}` is the folder with the data.
        pattern: finds the ratio in what the script prints, as its first group.
    """

    name: str
    says: str
    claimed: float
    command: tuple[str, ...]
    pattern: str


CLAIMS = (
    Claim(
        name="keras",
        says="plain Keras' seconds over ours, frozen backbone, 10 epochs, digits",
        claimed=8.9,
        command=("vs_keras.py",),
        pattern=r"median ratio +([\d.]+) x",
    ),
    Claim(
        name="keras-few",
        says="the same, 396 photos of ants and bees",
        claimed=4.4,
        command=("vs_keras.py", "--data", "{data}/hymenoptera"),
        pattern=r"median ratio +([\d.]+) x",
    ),
    Claim(
        name="buckets",
        says="seconds of a pass over texts in batches of one length over those of similar lengths",
        claimed=1.93,
        command=("buckets.py", "{data}/rt_polarity/rt_polarity.csv"),
        pattern=r"are ([\d.]+) x as fast",
    ),
    Claim(
        name="optimizer",
        says="processor seconds to the end of the first epoch, Keras' AdamW over one vector of all weights",
        claimed=1.55,
        command=("optimizer.py",),
        pattern=r"\(median ([\d.]+)\)",
    ),
)


def measure(claim: Claim, data: Path | None) -> dict[str, object]:
    """Runs the script of a claim and returns its ratio, None where it printed none."""
    command = [part.format(data=data) for part in claim.command]
    started = time.monotonic()
    done = subprocess.run([sys.executable, *command], cwd=HERE, capture_output=True, text=True, check=False)
    found = re.findall(claim.pattern, done.stdout)
    if not found:
        print(
            f"{claim.name}: exit {done.returncode}: {(done.stderr.strip().splitlines() or ['no ratio was printed'])[-1][:300]}",
            file=sys.stderr,
        )
    return {
        "name": claim.name,
        "says": claim.says,
        "claimed": claim.claimed,
        "measured": float(found[-1]) if found else None,
        "command": f"python benchmarks/{' '.join(claim.command).replace('{data}', 'FOLDER')}",
        "seconds": round(time.monotonic() - started),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with hymenoptera/ and rt_polarity/")
    parser.add_argument("--only", nargs="+", choices=[claim.name for claim in CLAIMS], metavar="NAME", help="some of the claims")
    parser.add_argument("--list", action="store_true", help="list the claims")
    parser.add_argument("--out", type=Path, default=Path("claims.json"))
    options = parser.parse_args()
    chosen = [claim for claim in CLAIMS if not options.only or claim.name in options.only]
    if options.list:
        print("\n".join(f"{claim.name}: {claim.says}: {claim.claimed:g}" for claim in chosen))
        return
    data = options.data.resolve() if options.data else None
    print("| claim | claimed | here | command | seconds |\n|---|---|---|---|---|", flush=True)
    results = []
    for claim in chosen:
        if data is None and any("{data}" in part for part in claim.command):
            continue
        results.append(measure(claim, data))
        row = results[-1]
        print(f"| {row['says']} | {row['claimed']:g} × | {row['measured']} × | `{row['command']}` | {row['seconds']} |", flush=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if any(row["measured"] is None for row in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
