#!/usr/bin/env python3
"""The encoder in ONNX Runtime, and refinement by scikit-learn, one thread, for `cargo xtask bench host`.

    python3 -m pip install numpy onnx onnxruntime scikit-learn
    python3 docs/results/compare/host_bench.py FOLDER

FOLDER holds `model.safetensors` (f32 weights) and `patches.npy` (preprocessed), as the Rust benchmark leaves them. Prints one JSON
object a line: name, and the shortest and the median time of a patch in microseconds. `call` is a graph that does nothing: what a
call through Python takes.
"""

import json
import os
import sys
import tempfile
import time
import warnings

# Before the libraries start their threads.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import sklearn  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: E402
from sklearn.decomposition import sparse_encode  # noqa: E402

# Relative excess over the lowest energy that counts as having arrived, as in the Rust benchmark.
GOOD = 1e-3


def read_model(path):
    """The tensors of a safetensors file, and its metadata."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32", name
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors, metadata


def graph(nodes, width, initializers, output):
    value = lambda name, size: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
    made = helper.make_graph(nodes, "encoder", [value("y", width[0])], [value(output, width[1])], initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def encoder(tensors, iterations):
    """`u = U y + b`, `z = relu(u)`, then `z = relu(u + S z)`."""
    weights = {
        "U": np.ascontiguousarray(tensors["encoder.input"].T),
        "b": tensors["encoder.bias"],
        # Stored transposed, as z S wants it.
        "S": tensors["encoder.recurrent"],
    }
    nodes = [
        helper.make_node("MatMul", ["y", "U"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["u"]),
        helper.make_node("Relu", ["u"], ["z0"]),
    ]
    for i in range(iterations):
        nodes += [
            helper.make_node("MatMul", [f"z{i}", "S"], [f"p{i}"]),
            helper.make_node("Add", [f"p{i}", "u"], [f"a{i}"]),
            helper.make_node("Relu", [f"a{i}"], [f"z{i + 1}"]),
        ]
    code, width = weights["U"].shape[1], weights["U"].shape[0]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    return graph(nodes, (width, code), initializers, f"z{iterations}")


def measure(name, patches, run, repetitions=300, seconds=0.004):
    """Times `run` so often that a repetition takes about `seconds`: short ones, some of which have the processor to themselves."""
    run()
    begin = time.perf_counter()
    run()
    count = max(1, int(seconds / (time.perf_counter() - begin)))
    times = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        for _ in range(count):
            run()
        times.append((time.perf_counter() - begin) / count / patches * 1e6)
    print(json.dumps({"name": name, "min": min(times), "median": float(np.median(times))}), flush=True)


def main():
    tensors, metadata = read_model(os.path.join(sys.argv[1], "model.safetensors"))
    patches = np.load(os.path.join(sys.argv[1], "patches.npy"))
    print(json.dumps({"versions": f"ONNX Runtime {onnxruntime.__version__}, scikit-learn {sklearn.__version__}"}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    iterations = int(metadata["lista_iterations"])
    width = patches.shape[1]
    rows = [np.ascontiguousarray(patch[None]) for patch in patches]
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name + ".onnx")
        nothing = [helper.make_node("Identity", ["y"], ["z"])]
        onnx.save(graph(nothing, (width, width), [], "z"), path("call"))
        onnx.save(encoder(tensors, iterations), path("ort-f32"))
        quantize_dynamic(path("ort-f32"), path("ort-i8"), weight_type=QuantType.QInt8)
        for name in ("call", "ort-f32", "ort-i8"):
            session = onnxruntime.InferenceSession(path(name), options, providers=["CPUExecutionProvider"])
            call = session.run

            def one_by_one():
                for row in rows:
                    call(None, {"y": row})

            measure(name, len(rows), one_by_one)
            measure(name + "-batch", len(rows), lambda: call(None, {"y": patches}))
            if name == "ort-f32":
                codes = call(None, {"y": patches})[0]

    # (1/d)‖y − zW‖² + λ‖z‖₁ is 2/d times sklearn's ½‖y − zW‖² + α‖z‖₁.
    dictionary = tensors["decoder.dictionary"].astype(np.float64)
    samples = patches.astype(np.float64)
    alpha = float(metadata["lambda"]) * width / 2
    gram = dictionary @ dictionary.T
    solve = lambda steps, start, samples=samples: sparse_encode(
        samples, dictionary, gram=gram, algorithm="lasso_cd", alpha=alpha, init=start, max_iter=steps,
        positive=True, check_input=False,
    )
    energy = lambda z: 0.5 * np.sum((samples - z @ dictionary) ** 2, axis=1) + alpha * np.sum(z, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lowest = energy(solve(20000, None))
        # The fewest passes with which the mean patch has arrived, from zero and from the encoder's code.
        starts = {
            # As it comes: until its own tolerance.
            "lasso-cd-default": None,
            "lasso-cd": None,
            "lasso-cd-warm": codes.astype(np.float64),
        }
        for name, start in starts.items():
            steps = 1000 if name == "lasso-cd-default" else 1
            while np.mean(energy(solve(steps, start)) / lowest) > 1 + GOOD and steps < 5000:
                steps += max(1, steps // 8)
            print(json.dumps({"note": f"{name}: {steps} passes"}))
            some = slice(0, 50)
            initial = None if start is None else start[some]
            measure(name, 50, lambda: solve(steps, initial, samples[some]), repetitions=100)


if __name__ == "__main__":
    main()
