"""Judge recordings with an exported model: onnxruntime, numpy and soundfile alone.

    dcase-asd export fan.asd --onnx fan.onnx
    pip install onnxruntime numpy soundfile
    python onnx_example.py fan.onnx today.wav yesterday.wav

A recording of several windows has a score for each; the worst is compared with the threshold.
"""

import sys

import numpy as np
import onnxruntime
import soundfile


def main(model: str, *recordings: str) -> None:
    """Print the score and verdict of each recording."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    known = session.get_modelmeta().custom_metadata_map
    rate, channel = int(known["sample_rate"]), int(known["channel"])
    threshold = float(known["threshold"])
    for name in recordings:
        samples, its_rate = soundfile.read(name, dtype="float32", always_2d=True)
        if its_rate != rate:
            sys.exit(f"error: {name}: {its_rate} Hz; resample it to the model's {rate} Hz")
        if len(samples) < rate / 2:
            sys.exit(f"error: {name}: shorter than 0.5 s")
        waveform = np.ascontiguousarray(samples[None, :, channel])  # (batch, samples)
        _, score, p_value = session.run(["distance", "score", "p_value"], {"waveform": waveform})
        worst = int(score[0].argmax())
        verdict = "anomalous" if score[0, worst] > threshold else "normal"
        print(f"{name}: {verdict}, score {score[0, worst]:.6g} (threshold {threshold:.6g}), "
              f"p {p_value[0, worst]:.2g}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) < 3:  # noqa: PLR2004 - model and one recording
        sys.exit("usage: python onnx_example.py fan.onnx today.wav ...")
    main(*sys.argv[1:])
