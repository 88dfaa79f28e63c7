"""A volume on a GPU: the engine against MONAI's inferer, with the same network.

    python benchmarks/inference_cuda.py

512 x 512 x 300 voxels, 15 classes, Med-URWKV tiny, bfloat16, slices with a neighbour
on each side, windows of 256 x 256, overlap 0.5. Wall time is from the volume in host
memory to the mask in host memory; everything is loaded and warm. Network time is that
of as many batches as the run has, replayed back to back.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES, CONTEXT, SIDE = 15, 1, 256
ARCHITECTURE = "med_urwkv_tiny"


def make_model(side: int):
    from napari_medurwkv.checkpoints import (
        ClassInfo,
        InputChannel,
        IntensityRecipe,
        Model,
        ModelCard,
    )
    from napari_medurwkv.models import create_model

    config = {"num_classes": CLASSES, "in_channels": 2 * CONTEXT + 1}
    card = ModelCard(
        name="volume",
        title="Volume",
        version="1",
        description="Random weights.",
        limitations="Everything.",
        architecture=ARCHITECTURE,
        config=config,
        dimensions=3,
        slice_axis=0,
        slice_context=CONTEXT,
        modality=("test",),
        channels=(InputChannel(name="grey"),),
        intensity=IntensityRecipe(scale="none"),
        patch_size=(side, side),
        activation="softmax",
        output_values=tuple(range(CLASSES)),
        classes=tuple(
            ClassInfo(value=v, name=f"class {v}", color="#808080")
            for v in range(CLASSES)
        ),
        training_data=(),
        metrics=(),
        authors=("Nobody",),
        licence="BSD-3-Clause",
        date=datetime.date(2026, 1, 1),
    )
    torch.manual_seed(0)
    network = create_model(ARCHITECTURE, **config)
    return Model(network.eval(), card, Path("volume.safetensors"), "0" * 64)


def make_volume(shape) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random([max(2, n // 8) for n in shape]))
    fine = torch.nn.functional.interpolate(
        coarse[None, None].float(), size=shape, mode="trilinear"
    )[0, 0]
    noise = torch.from_numpy(rng.random(shape, np.float32))
    return (0.8 * fine + 0.2 * noise).numpy()


@contextlib.contextmanager
def timed(result: dict, device: str):
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    result["base_mb"] = torch.cuda.memory_allocated() / 1e6
    begun = time.perf_counter()
    yield
    torch.cuda.synchronize()
    result["seconds"] = time.perf_counter() - begun
    result["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6


def ours(image, model, device) -> tuple[dict, np.ndarray]:
    from napari_medurwkv.inference import segment

    result: dict = {}
    with timed(result, device):
        done = segment(image, model, device=device)
    result["windows"] = done.record.parameters["windows"]
    result["steps"] = list(done.record.device_path[1:])
    return result, done.labels


def monai(array, model, device, batch: int) -> tuple[dict, np.ndarray]:
    from monai.inferers import SliceInferer

    class Network(torch.nn.Module):
        def forward(self, x):
            with torch.autocast("cuda", torch.bfloat16):
                return model.network(x).float()

    side = model.card.patch_size[0]
    inferer = SliceInferer(
        spatial_dim=0,
        roi_size=(side, side),
        sw_batch_size=batch,
        overlap=0.5,
        mode="gaussian",
        device=torch.device(device),
        sw_device=torch.device(device),
    )
    network = Network().to(device).eval()
    result: dict = {}
    with timed(result, device), torch.inference_mode():
        volume = torch.from_numpy(array).to(device)
        last = len(volume) - 1
        order = torch.arange(len(volume), device=device)
        channels = torch.stack(
            [volume[(order + k).clamp(0, last)] for k in range(-CONTEXT, CONTEXT + 1)]
        )
        logits = inferer(channels[None], network)
        labels = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
    return result, labels


def network_times(model, device: str, batch: int) -> dict[str, float]:
    """Seconds per batch of the network alone, launched and replayed."""
    from napari_medurwkv.inference.device import choose_device
    from napari_medurwkv.inference.predictor import Predictor

    side = model.card.patch_size[0]
    windows = list(torch.rand(batch, 2 * CONTEXT + 1, side, side, device=device))
    times = {}
    for name, expected in (
        ("launched", 0),
        ("replayed", 10**6),
        ("replayed, channels last", 10**6),
    ):
        last = name.endswith("last")
        form = torch.channels_last if last else torch.contiguous_format
        model.network.to(memory_format=form)
        predictor = Predictor(
            model.network, choose_device(device), CLASSES, expected=expected
        )
        predictor.batch = batch
        for _ in range(3):
            predictor(windows)
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(20):
            predictor(windows)
        torch.cuda.synchronize()
        times[name] = (time.perf_counter() - begun) / 20
        print(
            f"network, batch {batch}, {name}: {1000 * times[name]:.2f} ms", flush=True
        )
        print(predictor.steps, flush=True)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", nargs=3, type=int, default=[300, 512, 512])
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument(
        "--launched", action="store_true", help="without recording the network"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    from napari_medurwkv.inference import predictor
    from napari_medurwkv.inference.foresight import foresee
    from napari_medurwkv.io import image_from_array

    if arguments.launched:
        predictor.MANY_BATCHES = 10**9
    device, batch = arguments.device, predictor.BATCH["cuda"]
    model = make_model(arguments.side)
    array = make_volume(arguments.shape)
    image = image_from_array(array, rgb=False)
    few = image_from_array(array[:20].copy(), rgb=False)
    facts: dict = {"shape": arguments.shape, "side": arguments.side, "batch": batch}
    facts["gpu"] = torch.cuda.get_device_name(device)
    arguments.output.mkdir(parents=True, exist_ok=True)

    def keep() -> None:
        file = arguments.output / "inference-cuda.json"
        file.write_text(json.dumps(facts, indent=2))
        print(json.dumps(facts), flush=True)

    ours(few, model, device)
    forecast = foresee(image, model, device=device)
    facts["forecast"] = {
        "seconds": forecast.seconds,
        "mb": forecast.device_bytes / 1e6,
    }
    runs: dict[str, list[dict]] = {"napari-medurwkv": [], "MONAI": []}
    facts["runs"] = runs
    facts["network"] = {}
    for _ in range(2):
        result, mine_mask = ours(image, model, device)
        runs["napari-medurwkv"].append(result)
        keep()
        torch.cuda.empty_cache()
    facts["network"][str(batch)] = network_times(model, device, batch)
    keep()
    monai(array[:20].copy(), model, device, batch)
    for _ in range(2):
        result, peer_mask = monai(array, model, device, batch)
        runs["MONAI"].append(result)
        keep()
        torch.cuda.empty_cache()
    facts["differ"] = float(np.mean(peer_mask != mine_mask))
    slices = image_from_array(array[:2].copy(), rgb=False)
    on_gpu = ours(slices, model, device)[1]
    facts["cpu_differ"] = float(np.mean(ours(slices, model, "cpu")[1] != on_gpu))
    keep()
    for other in {8, 32} - {batch}:
        facts["network"][str(other)] = network_times(model, device, other)
        keep()
    best = {k: min(v, key=lambda r: r["seconds"]) for k, v in runs.items()}
    mine, peer = best["napari-medurwkv"], best["MONAI"]
    batches = -(-mine["windows"] // batch)
    quickest = "launched" if arguments.launched else "replayed"
    alone = batches * facts["network"][str(batch)][quickest]
    facts["network_s"] = alone
    promised = facts["forecast"]["mb"]
    facts["overhead"] = 1 - alone / mine["seconds"]
    keep()
    text = "\n".join(
        [
            "# A volume on a GPU",
            "",
            "Made by `benchmarks/inference_cuda.py`: "
            f"{' x '.join(map(str, arguments.shape))} voxels, {CLASSES} classes, "
            f"{ARCHITECTURE}, bfloat16, windows of {arguments.side} x "
            f"{arguments.side}, overlap 0.5, {mine['windows']} windows, batches of "
            f"{batch}.",
            "",
            "| engine | wall, s | GPU memory at most, MB |",
            "|---|---|---|",
            f"| napari-medurwkv | {mine['seconds']:.2f} | {mine['peak_mb']:.0f} |",
            f"| MONAI, SliceInferer | {peer['seconds']:.2f} | {peer['peak_mb']:.0f} |",
            "",
            f"* Faster by {peer['seconds'] / mine['seconds']:.2f} (bar: 1.3).",
            f"* The network alone takes {alone:.2f} s: everything else is "
            f"{facts['overhead']:.0%} of wall time (bar: 10 %).",
            f"* Forecast: {forecast.seconds:.2f} s and {promised:.0f} MB "
            f"(off by {promised / mine['peak_mb'] - 1:+.0%}, bar: 10 %).",
            f"* Masks differ at {facts['differ']:.1e} of the voxels (random weights).",
            f"* CPU and GPU masks of two slices differ at {facts['cpu_differ']:.1e}.",
            "* The network per batch, ms, launched, replayed, and replayed with "
            "channels last: "
            + "; ".join(
                f"batch {n}: " + ", ".join(f"{1000 * s:.1f}" for s in t.values())
                for n, t in facts["network"].items()
            )
            + ".",
            f"* Noted by the run: {'; '.join(mine['steps']) or 'nothing'}.",
            "",
            f"{facts['gpu']}, torch {torch.__version__}, {platform.platform()}, "
            f"{time.strftime('%Y-%m-%d')}.",
        ]
    )
    (arguments.output / "inference-cuda.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
