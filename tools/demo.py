"""The whole way once: in small simulated worlds (default), or on real samples with --real."""

import argparse
from pathlib import Path

from pc3d.engine.command_line import run_command

EXAMPLES = """\
examples:
  python tools/demo.py
  python tools/demo.py --size tiny --worlds 1 --work-dir work_dirs/tiny
  python tools/demo.py --real /data/samples --work-dir work_dirs/demo-real
"""
CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"), help="default: %(default)s")
    parser.add_argument("--size", default="demo", help="of the simulated worlds (default: %(default)s)")
    parser.add_argument("--worlds", type=int, default=2, help="how many (default: %(default)s)")
    parser.add_argument("--first-world", type=int, default=5, help="its seed (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of training (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="worlds at a time (default: %(default)s)")
    parser.add_argument("--real", type=Path, metavar="DATA", help="folder with kitti_raw/ and nuscenes/")
    args = parser.parse_args()
    if args.real is not None:
        from pc3d.demo import real

        real.run(args.real, args.work_dir, CONFIGS)
    else:
        from pc3d.demo import simulated

        simulated.run(
            args.work_dir, CONFIGS, args.size, args.first_world, args.worlds, args.seed, jobs=args.jobs
        )


if __name__ == "__main__":
    run_command(main)
