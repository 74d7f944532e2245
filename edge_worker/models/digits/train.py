"""Trains the embedded digit classifier and writes everything in this folder but itself.

Run by hand, rarely, and never by the worker. It needs tensorflow, scikit-learn and opencv-python-headless:

    python edge_worker/models/digits/train.py

A fixed seed makes a second run on the same machine and versions write the same bytes; another processor may round
differently. It refuses to write a model that is under 97 % on the held-out split, over 500 kB, or on which
TensorFlow and OpenCV disagree.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
SEED = 20240229
EPOCHS = 60
BATCH = 64
HELD_OUT = 0.2
MIN_ACCURACY = 0.97
MAX_BYTES = 500_000
MAX_DIFFERENCE = 1e-5
SAMPLE_SIDE_PX = 128
INPUT, OUTPUT = "image", "probabilities"

# One row a layer: name, kernel side, channels in, channels out. Only convolutions, so that no engine has to decide in
# which order a picture is flattened: the last two see a 2x2 and then a 1x1 picture.
LAYERS = (
    ("conv1", 3, 1, 24),
    ("conv2", 3, 24, 48),
    ("conv3", 3, 48, 64),
    ("conv4", 2, 64, 128),
    ("logits", 1, 128, 10),
)


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures [N,8,8] float32 from 0 to 1 (ink is 1) and labels [N], for training and held out."""
    digits = load_digits()
    pictures = (digits.images / 16.0).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        pictures, digits.target, test_size=HELD_OUT, random_state=SEED, stratify=digits.target
    )
    return train_x, train_y, test_x, test_y


def initial_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """He initialisation (He et al. 2015): the standard deviation is sqrt(2 / inputs of a unit)."""
    weights = {}
    for name, side, inputs, outputs in LAYERS:
        deviation = np.sqrt(2.0 / (side * side * inputs))
        kernel = rng.normal(0.0, deviation, (side, side, inputs, outputs))
        weights[f"{name}/kernel"] = kernel.astype(np.float32)
        weights[f"{name}/bias"] = np.zeros(outputs, np.float32)
    return weights


def network(image, weights, drop: float = 0.0):  # type: ignore[no-untyped-def]
    """[N,8,8,1] -> logits [N,10]. Training and the frozen graph are made of these same lines."""
    x = image
    for name, _, _, _ in LAYERS[:-1]:
        padding = "VALID" if name == "conv4" else "SAME"
        x = tf.nn.conv2d(x, weights[f"{name}/kernel"], strides=1, padding=padding)
        x = tf.nn.relu(tf.nn.bias_add(x, weights[f"{name}/bias"]))
        if name in ("conv2", "conv3"):
            x = tf.nn.max_pool2d(x, 2, 2, padding="VALID")
    if drop:
        x = tf.nn.dropout(x, drop)
    x = tf.nn.bias_add(tf.nn.conv2d(x, weights["logits/kernel"], 1, "VALID"), weights["logits/bias"])
    return tf.reshape(x, [-1, 10])


def varied(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture turned, scaled and shifted a little; one in two is dark ink on light paper, as in a photograph."""
    out = np.empty_like(pictures)
    for i, picture in enumerate(pictures):
        large = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D((15.5, 15.5), rng.uniform(-8, 8), rng.uniform(0.88, 1.08))
        turn = turn + np.pad(rng.uniform(-2.5, 2.5, (2, 1)), ((0, 0), (2, 0)))
        small = cv2.resize(cv2.warpAffine(large, turn, (32, 32)), (8, 8), interpolation=cv2.INTER_AREA)
        contrast, floor = rng.uniform(0.7, 1.0), rng.uniform(0.0, 0.15)
        small = np.clip(small * contrast + floor + rng.normal(0, 0.02, small.shape), 0, 1)
        out[i] = 1.0 - small if rng.random() < 0.5 else small
    return out


def train(pictures: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Adam over EPOCHS passes, half plain and half varied pictures in each, with a falling step (cosine)."""
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    rng = np.random.default_rng(SEED)
    weights = {name: tf.Variable(value) for name, value in initial_weights(rng).items()}
    names = list(weights)
    steps = EPOCHS * (2 * len(pictures) // BATCH)
    adam = tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(2e-3, steps))

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = network(x, weights, drop=0.3)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        variables = [weights[name] for name in names]
        adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    for epoch in range(EPOCHS):
        x = np.concatenate([pictures, varied(pictures, rng)])[..., None].astype(np.float32)
        y = np.concatenate([labels, labels])
        order = rng.permutation(len(x))
        batches = [order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]
        losses = [float(step(tf.constant(x[b]), tf.constant(y[b]))) for b in batches]
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    return {name: variable.numpy() for name, variable in weights.items()}


def freeze(weights: dict[str, np.ndarray]) -> bytes:
    """A GraphDef whose weights are constants: one placeholder in, one softmax out."""
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 1], name=INPUT)
        constants = {name: tf.constant(value, name=name) for name, value in weights.items()}
        tf.nn.softmax(network(image, constants), name=OUTPUT)
    frozen: bytes = graph.as_graph_def().SerializeToString(deterministic=True)
    return frozen


def answers_of_tensorflow(frozen: bytes, batch: np.ndarray) -> np.ndarray:
    """[N,8,8,1] -> probabilities [N,10]."""
    definition = tf.compat.v1.GraphDef.FromString(frozen)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            answers: np.ndarray = session.run(f"{OUTPUT}:0", {f"{INPUT}:0": batch})
    return answers


def answers_of_opencv(frozen: bytes, batch: np.ndarray) -> np.ndarray:
    """[N,8,8,1] -> probabilities [N,10]. OpenCV takes channels first, whatever the graph says."""
    net = cv2.dnn.readNetFromTensorflow(np.frombuffer(frozen, np.uint8))
    net.setInput(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
    return net.forward()


def check(frozen: bytes, pictures: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Prints what the model is worth on the held-out split; returns its probabilities. Exits when it is not enough."""
    batch = pictures[..., None]
    ours, theirs = answers_of_opencv(frozen, batch), answers_of_tensorflow(frozen, batch)
    accuracy = float(np.mean(ours.argmax(1) == labels))
    inverted = float(np.mean(answers_of_opencv(frozen, 1.0 - batch).argmax(1) == labels))
    difference = float(np.abs(ours - theirs).max())
    print(f"held-out accuracy: {accuracy:.4f} of {len(labels)} ({inverted:.4f} with dark ink on light paper)")
    print(f"largest difference between OpenCV and TensorFlow: {difference:.1e}; size: {len(frozen)} bytes")
    if accuracy < MIN_ACCURACY or difference > MAX_DIFFERENCE or len(frozen) > MAX_BYTES:
        raise SystemExit("not written: accuracy, agreement or size is out of bounds")
    return ours


def write_samples(pictures: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """The first held-out picture of each digit that is answered right and surely, smoothly enlarged."""
    folder = HERE / "samples"
    folder.mkdir(exist_ok=True)
    for digit in range(10):
        sure = (labels == digit) & (probabilities[:, digit] > 0.99)
        picture = pictures[int(np.flatnonzero(sure)[0])]
        large = cv2.resize(picture, (SAMPLE_SIDE_PX, SAMPLE_SIDE_PX), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(np.rint(large * 255.0), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"digit-{digit}.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    train_x, train_y, test_x, test_y = split()
    frozen = freeze(train(train_x, train_y))
    probabilities = check(frozen, test_x, test_y)
    (HERE / "digits.pb").write_bytes(frozen)
    write_samples(test_x, test_y, probabilities)
    description = HERE / "model.toml"
    checksum = f'sha256 = "{hashlib.sha256(frozen).hexdigest()}"'
    description.write_text(re.sub(r'(?m)^sha256 = ".*"$', checksum, description.read_text()))


if __name__ == "__main__":
    main()
