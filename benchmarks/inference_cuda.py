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
    for name, expected in (("launched", 0), ("replayed", 10**6)):
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


def variants(image, model, device: str, batch: int, keep, facts: dict) -> np.ndarray:
    """Run the engine with and without what it does to keep the GPU at work."""
    from napari_medurwkv.inference import predictor, run
    from napari_medurwkv.inference.streams import Streams

    runs = facts["runs"]

    def once(name: str) -> np.ndarray:
        result, mask = ours(image, model, device)
        runs.setdefault(name, []).append(result)
        print(name, result, flush=True)
        keep()
        return mask

    predictor.RECORDINGS.forget(model.network)
    labels = once("recorded anew")
    for _ in range(3):
        again = once("napari-medurwkv")
    facts["repeat_differs"] = float(np.mean(again != labels))
    run.Streams = lambda device: Streams("cpu")
    one_stream = once("one stream")
    facts["one_stream_differs"] = float(np.mean(one_stream != labels))
    run.Streams = Streams
    predictor.BATCH["cuda"] = 2 * batch
    once(f"batch {2 * batch}, recorded anew")
    once(f"batch {2 * batch}")
    predictor.BATCH["cuda"] = batch
    return labels


def profile(image, model, device: str, facts: dict) -> None:
    """Tell what the GPU does in a short run, and for how long it does nothing."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    ours(image, model, device)  # recorded
    begun = time.perf_counter()
    with record(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        ours(image, model, device)
    seconds = time.perf_counter() - begun
    averages = found.key_averages()
    print(averages.table(sort_by="self_device_time_total", row_limit=25), flush=True)
    print(averages.table(sort_by="self_cpu_time_total", row_limit=15), flush=True)
    busy = sum(e.self_device_time_total for e in averages) / 1e6
    facts["profile"] = {"seconds": seconds, "kernel_seconds": busy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", nargs=3, type=int, default=[300, 512, 512])
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    from napari_medurwkv.inference import predictor
    from napari_medurwkv.inference.foresight import foresee
    from napari_medurwkv.io import image_from_array

    device, batch = arguments.device, predictor.BATCH["cuda"]
    model = make_model(arguments.side)
    array = make_volume(arguments.shape)
    image = image_from_array(array, rgb=False)
    few = image_from_array(array[:30].copy(), rgb=False)
    facts: dict = {"shape": arguments.shape, "side": arguments.side, "batch": batch}
    facts["gpu"] = torch.cuda.get_device_name(device)
    arguments.output.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()

    def keep() -> None:
        facts["so_far_s"] = time.perf_counter() - begun
        file = arguments.output / "inference-cuda.json"
        file.write_text(json.dumps(facts, indent=2))

    runs: dict[str, list[dict]] = {}
    facts["runs"] = runs
    ours(few, model, device)
    forecast = foresee(image, model, device=device)
    facts["forecast"] = {
        "seconds": forecast.seconds,
        "mb": forecast.device_bytes / 1e6,
    }
    print(forecast, flush=True)
    mine_mask = variants(image, model, device, batch, keep, facts)
    facts["network"] = {str(batch): network_times(model, device, batch)}
    keep()
    # Two slices with the CPU; what is compared is bfloat16 with float32.
    slices = image_from_array(array[:2].copy(), rgb=False)
    on_gpu = ours(slices, model, device)[1]
    on_cpu = ours(slices, model, "cpu")[1]
    facts["cpu_differ"] = float(np.mean(on_cpu != on_gpu))
    keep()
    torch.cuda.empty_cache()
    monai(array[:20].copy(), model, device, batch)
    result, peer_mask = monai(array, model, device, batch)
    runs["MONAI"] = [result]
    facts["differ"] = float(np.mean(peer_mask != mine_mask))
    keep()
    torch.cuda.empty_cache()
    profile(few, model, device, facts)
    keep()
    facts["network"][str(2 * batch)] = network_times(model, device, 2 * batch)
    best = {k: min(v, key=lambda r: r["seconds"]) for k, v in runs.items()}
    mine, peer = best["napari-medurwkv"], best["MONAI"]
    batches = -(-mine["windows"] // batch)
    alone = batches * facts["network"][str(batch)]["replayed"]
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
            *(
                f"| {name} | {row['seconds']:.2f} | {row['peak_mb']:.0f} |"
                for name, row in best.items()
            ),
            "",
            f"* Faster by {peer['seconds'] / mine['seconds']:.2f} (bar: 1.3).",
            f"* The network alone, replayed, takes {alone:.2f} s: everything else is "
            f"{facts['overhead']:.0%} of wall time (bar: 10 %); where the network has "
            "to be recorded first, "
            f"{1 - alone / best['recorded anew']['seconds']:.0%}.",
            f"* Forecast: {forecast.seconds:.2f} s and {promised:.0f} MB "
            f"(off by {promised / mine['peak_mb'] - 1:+.0%}, bar: 10 %).",
            f"* Masks differ at {facts['differ']:.1e} of the voxels (random weights).",
            f"* CPU and GPU masks of two slices differ at {facts['cpu_differ']:.1e}.",
            "* The network per batch, ms, launched and replayed: "
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
