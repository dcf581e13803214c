"""Measure pc3d: regions, the simulator's realism, lift and pool, NMS, what pretraining buys, transfer."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pc3d.engine.command_line import run_command
from pc3d.engine.settings.options import OptionsAction
from pc3d.evaluation import study_command
from pc3d.evaluation.evidence import command as evidence

EXAMPLES = """\
examples:
  python tools/benchmark.py regions --real /data/samples
  python tools/benchmark.py regions --real /data/samples --boxes --index data/sim-index
  python tools/benchmark.py realism --real /data/samples
  python tools/benchmark.py bev-pool
  python tools/benchmark.py overfit --real /data/samples
  python tools/benchmark.py transfer --real /data/samples --backbone slidr=work_dirs/run/backbone.safetensors
  python tools/benchmark.py bev-probe --runs work_dirs/sim_calico
  python tools/benchmark.py nms
  python tools/benchmark.py contrast --rows 4096
  python tools/benchmark.py step
  python tools/benchmark.py step --shares
  python tools/benchmark.py step --detector
  python tools/benchmark.py gpu --minutes 10
  python tools/benchmark.py gpu --configs pretrain/nuscenes_joint finetune/nuscenes_detection
"""
CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def regions(args: argparse.Namespace) -> None:
    from pc3d.evaluation import bench_regions

    if args.boxes:
        from pc3d.evaluation import region_recall

        print(region_recall.to_markdown(region_recall.run(args.real, args.index, args.every)))
        return
    print(json.dumps(bench_regions.run(args.real), indent=2))


def realism(args: argparse.Namespace) -> None:
    from pc3d.evaluation import bench_realism

    print(json.dumps(bench_realism.run(args.real, args.seed), indent=2))


def bev_pool(args: argparse.Namespace) -> None:
    from pc3d.evaluation import bench_bev_pool

    print(json.dumps(bench_bev_pool.run(args.channels, args.repeats), indent=2))


def nms(args: argparse.Namespace) -> None:
    from pc3d.evaluation import bench_nms

    print(json.dumps(bench_nms.run(args.boxes, args.iou_threshold, args.repeats), indent=2))


def contrast(args: argparse.Namespace) -> None:
    from pc3d.evaluation import bench_contrast

    rows = bench_contrast.run(args.rows, args.dim, args.repeats)
    print(f"| part, {args.rows} rows of {args.dim} numbers | CPU seconds | beside plain |\n|---|---|---|")
    for row in rows:
        print(f"| {row['part']} | {row['seconds']:.3f} | {row['ratio']:.2f} |")


def step(args: argparse.Namespace) -> None:
    from pc3d.evaluation import bench_detector, bench_step

    if args.detector:
        config, where = CONFIGS / "finetune/sim_detection.py", {"data.index": str(args.index)}
        print(json.dumps(bench_detector.run(config, where, args.repeats, args.device), indent=2))
        return
    where = {"data.index": str(args.index), "data.regions": str(args.regions)}
    configs = {name: CONFIGS / f"pretrain/sim_{name}.py" for name in args.systems}
    if args.shares:
        config = CONFIGS / "pretrain/sim_slidr.py"
        print(json.dumps(bench_step.run_shares(config, where, args.repeats, args.device), indent=2))
        return
    joint = "joint" if "joint" in configs else None
    print(json.dumps(bench_step.run(configs, where, joint, args.repeats, args.device), indent=2))


def overfit(args: argparse.Namespace) -> None:
    from pc3d.evaluation import bench_overfit

    config = CONFIGS / "finetune/real_overfit.py"
    print(json.dumps(bench_overfit.run(args.real / "nuscenes", config, args.cfg_options), indent=2))


def transfer(args: argparse.Namespace) -> None:
    from pc3d.engine.config import load_config, plain
    from pc3d.evaluation import bench_transfer
    from pc3d.evaluation.transfer.table import to_markdown
    from pc3d.storage.whole import write_bytes

    lidar = plain(load_config(CONFIGS / "pretrain/sim_slidr.py", "pretrain").lidar)
    names = [name for name, _ in args.backbone]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--backbone has the name {twice[0]!r} twice: give each its own")
    settings = bench_transfer.Settings(tuple(args.seeds), points=args.points, frames=args.frames)
    args.out.mkdir(parents=True, exist_ok=True)
    result = bench_transfer.run(args.real, lidar, dict(args.backbone), settings)
    write_bytes(args.out / "transfer.json", (json.dumps(result, indent=1) + "\n").encode())
    write_bytes(args.out / "transfer.md", to_markdown(result).encode())
    print(to_markdown(result))


def bev_probe(args: argparse.Namespace) -> None:
    from pc3d.data.index import SweepIndex
    from pc3d.evaluation.protocol.bev_table import bev_markdown, bev_table
    from pc3d.storage.whole import write_json

    runs = {}
    for text in args.runs:
        name, _, folder = text.rpartition("=")
        runs[name or Path(folder).name] = Path(folder)
    if len(runs) < len(args.runs):
        raise ValueError(f"two of --runs {' '.join(args.runs)} have one name: give each its own, NAME=FOLDER")
    table = bev_table(
        SweepIndex.open(args.index), runs, tuple(args.splits), tuple(args.sweeps), args.cells, seed=args.seed
    )
    if args.json is not None:
        write_json(args.json, table)
    print(bev_markdown(table))


def _backbone(text: str) -> tuple[str, Path]:
    """Name and file of NAME=FILE."""
    name, _, file = text.partition("=")
    if not name or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE, as slidr=run/backbone.safetensors")
    return name, Path(file)


Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_real(commands: Commands) -> None:
    for name, run, text in (
        ("regions", regions, "clustering against scikit-learn's DBSCAN, labels and time"),
        ("realism", realism, "the simulator beside the real nuScenes key frame"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--real", type=Path, required=True, metavar="DATA", help="real samples")
        if name == "realism":
            command.add_argument("--seed", type=int, default=0, help="of the simulated scenes")
        else:
            command.add_argument(
                "--boxes",
                action="store_true",
                help="instead: which annotated boxes each kind of regions finds",
            )
            command.add_argument("--index", type=Path, help="with --boxes: simulated drives, too")
            command.add_argument("--every", type=int, default=1, help="of their key frames, each so-manieth")
        command.set_defaults(run=run)
    text = "a detector that learns the real nuScenes key frame by heart"
    command = commands.add_parser("overfit", help=text, description=text)
    command.add_argument("--real", type=Path, required=True, metavar="DATA", help="real samples")
    command.add_argument("--cfg-options", nargs="+", action=OptionsAction, metavar="KEY=VALUE")
    command.set_defaults(run=overfit)
    text = "probes fitted on one real data set and scored on another, references beside"
    command = commands.add_parser("transfer", help=text, description=text)
    command.add_argument("--real", type=Path, required=True, metavar="DATA", help="folder of the data sets")
    command.add_argument(
        "--backbone", nargs="+", type=_backbone, default=[], metavar="NAME=FILE", help="pretrained backbones"
    )
    command.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="a draw of points for each"
    )
    command.add_argument("--points", type=int, default=3000, help="of each data set and draw")
    command.add_argument("--frames", type=int, default=3, help="key frames of each data set at most")
    command.add_argument("--out", type=Path, default=Path("work_dirs/transfer"), help="for Markdown and JSON")
    command.set_defaults(run=transfer)


def add_bev_probe(commands: Commands) -> None:
    text = "probe the cameras' and the LiDAR's BEV maps of pretraining runs at cells, references beside"
    command = commands.add_parser("bev-probe", help=text, description=text)
    command.add_argument("--runs", nargs="+", required=True, metavar="[NAME=]FOLDER", help="run folders")
    command.add_argument("--index", type=Path, default=Path("data/sim-index"))
    command.add_argument("--splits", nargs=2, default=["sim_train", "sim_val"], metavar=("TRAIN", "VAL"))
    command.add_argument("--sweeps", nargs=2, type=int, default=[80, 60], metavar=("TRAIN", "VAL"))
    command.add_argument("--cells", type=int, default=500, help="of each sweep (default %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the cells and of what is untrained")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all scores as JSON, too")
    command.set_defaults(run=bev_probe)


def add_kernels(commands: Commands) -> None:
    text = "time and memory of the fused lift and pool beside the outer product"
    command = commands.add_parser("bev-pool", help=text, description=text)
    command.add_argument("--channels", type=int, default=80, help="width of the features")
    command.add_argument("--repeats", type=int, default=5, help="the best of so many")
    command.set_defaults(run=bev_pool)
    text = "time of rotated NMS beside the same by shapely"
    command = commands.add_parser("nms", help=text, description=text)
    command.add_argument("--boxes", type=int, default=1000, help="in clusters of twenty")
    command.add_argument("--iou-threshold", type=float, default=0.2, help="default: %(default)s")
    command.add_argument("--repeats", type=int, default=5, help="the best of so many")
    command.set_defaults(run=nms)


def add_contrast(commands: Commands) -> None:
    text = "time of a contrast with each of its parts beside plain InfoNCE"
    command = commands.add_parser("contrast", help=text, description=text)
    command.add_argument("--rows", type=int, default=2048, help="of each side")
    command.add_argument("--dim", type=int, default=64, help="of the features")
    command.add_argument("--repeats", type=int, default=5, help="turns, of which the median is given")
    command.set_defaults(run=contrast)


def gpu(args: argparse.Namespace) -> None:
    from pc3d.engine.settings.shipped import shipped_folder
    from pc3d.evaluation.bench_step import device_name
    from pc3d.evaluation.gpu import report
    from pc3d.evaluation.gpu.train_steps import configs_of
    from pc3d.ops.device import chosen_device

    device, folder = chosen_device(args.device), shipped_folder()

    def settings(path: Path) -> dict[str, Any]:
        common = {"data.index": str(args.index), "data.split": args.split, "data.workers": 0}
        if path.parent.name == "pretrain":
            common |= {"data.regions": str(args.regions), "data.superpixel_params": {"width": 448}}
        return {**common, **(args.cfg_options or {})}

    configs, half = configs_of(args.configs, folder), configs_of([args.half], folder)[0]
    pieces = report.pieces_of(configs, settings, device, args.repeats, half, args.half_steps)
    name = device_name(device.type)
    complete = args.tables or report.run_pieces(pieces, args.work_dir, name, args.minutes)
    print(report.table(args.work_dir))
    if not complete:
        print(f"{args.minutes:g} minutes are over; the same command goes on")


def add_gpu(commands: Commands) -> None:
    text = "operations beside the CPU's, steps of the papers' configs, half precision and two ranks, on a GPU"
    command = commands.add_parser("gpu", help=text, description=text)
    command.add_argument("--index", type=Path, default=Path("data/sim-index"))
    command.add_argument("--regions", type=Path, default=Path("data/sim-regions"))
    command.add_argument("--split", default="sim_train")
    command.add_argument(
        "--configs", nargs="+", default=[], metavar="KIND/NAME", help="default: all of the papers' sizes"
    )
    command.add_argument(
        "--half", default="pretrain/nuscenes_superflowpp", help="config of the losses in half"
    )
    command.add_argument("--half-steps", type=int, default=50, help="of each precision (default %(default)s)")
    command.add_argument("--repeats", type=int, default=10, help="steps, of which the median is given")
    command.add_argument("--cfg-options", nargs="+", action=OptionsAction, metavar="KEY=VALUE")
    command.add_argument("--minutes", type=float, help="after so many no new piece is begun")
    command.add_argument("--tables", action="store_true", help="the table of what is done, nothing is run")
    command.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the GPU where there is one)")
    command.add_argument("--work-dir", type=Path, default=Path("work_dirs/gpu"), help="default: %(default)s")
    command.set_defaults(run=gpu)


def add_step(commands: Commands) -> None:
    text = "time and peak memory of a training step of each system; the joint step beside its parts"
    command = commands.add_parser("step", help=text, description=text)
    command.add_argument("--index", type=Path, default=Path("data/sim-index"))
    command.add_argument("--regions", type=Path, default=Path("data/sim-regions"))
    command.add_argument("--systems", nargs="+", default=["prc", "fac", "superflowpp", "joint"])
    command.add_argument(
        "--shares", action="store_true", help="share of pairing, pooling and loss, MinkUNet-34"
    )
    command.add_argument(
        "--detector", action="store_true", help="a detector's step: layout of the convolutions, bfloat16"
    )
    command.add_argument("--repeats", type=int, default=3, help="turns, of which the median is given")
    command.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    command.set_defaults(run=step)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES + study_command.EXAMPLES + evidence.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    adds = (
        add_real,
        add_bev_probe,
        add_kernels,
        add_contrast,
        add_step,
        add_gpu,
        study_command.add,
        evidence.add,
    )
    for add in adds:
        add(commands)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    run_command(main)
