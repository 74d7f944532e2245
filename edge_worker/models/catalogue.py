"""The published models that `edge-worker models pull` knows: where they are, what they must be, and what they want.

Values only: nothing here is opened or downloaded. Addresses and MD5 sums of the Keras models are those of
keras.applications, which a test compares; Keras publishes no checksum for MobileNet v2.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_worker.models.spec import InputSpec

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_TENSORFLOW = "https://storage.googleapis.com/download.tensorflow.org/"

MAX_DOWNLOAD_BYTES = 500_000_000
"""The largest file here has 103 MB."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that is published."""

    url: str
    checksum: str
    """`sha256:` or `md5:` and hexadecimal digits; empty when nobody publishes one."""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model that can be pulled."""

    name: str
    title: str
    licence: str
    input: InputSpec
    output: str
    """The output's name in a frozen graph, as the input's is `input.name`."""
    classes: int
    """Outputs of the network."""
    first_class: int
    """The output that is ImageNet's first class, when it counts as ImageNet does."""
    weights: RemoteFile
    """The network, or its weights, or an archive with the network and its labels."""
    labels: RemoteFile | None
    """Keras's list of classes; None when the labels are in the archive."""
    architecture: str
    """The name in keras.applications; empty for the frozen graph of `members`."""
    members: tuple[RemoteFile, ...] = ()
    """What is taken out of the archive: the network and its labels."""

    @property
    def formats(self) -> tuple[str, ...]:
        """What it can be installed as, the usual one first."""
        return ("tf-frozen", "keras") if self.architecture else ("tf-frozen",)

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        """What is downloaded."""
        return (self.weights, self.labels) if self.labels else (self.weights,)


def _input(side: int, colour: str, mean: tuple[float, float, float], scale: float) -> InputSpec:
    return InputSpec("input", "NHWC", side, side, colour, mean, (scale,) * 3, "stretch", "area")


_CLASSES = RemoteFile(f"{_TENSORFLOW}data/imagenet_class_index.json", "md5:c2c37ea517e94d9795004a39431a14cb")
_HALF = 127.5


def _keras(name: str, title: str, architecture: str, pixels: InputSpec, file: str, checksum: str) -> CatalogueModel:
    weights = RemoteFile(f"{_KERAS}{file}", checksum)
    return CatalogueModel(
        name=name,
        title=title,
        licence="Apache-2.0 (keras.applications)",
        input=pixels,
        output="probabilities",
        classes=1000,
        first_class=0,
        weights=weights,
        labels=_CLASSES,
        architecture=architecture,
    )


CATALOGUE = (
    CatalogueModel(
        name="googlenet",
        title="GoogLeNet (Inception v1)",
        licence="Apache-2.0",
        input=_input(224, "RGB", (117.0, 117.0, 117.0), 1.0),
        output="softmax2",
        classes=1008,
        first_class=1,
        weights=RemoteFile(
            f"{_TENSORFLOW}models/inception5h.zip",
            "sha256:d13569f6a98159de37e92e9c8ec4dae8f674fbf475f69fe6199b514f756d4364",
        ),
        labels=None,
        architecture="",
        members=(
            RemoteFile(
                "tensorflow_inception_graph.pb",
                "sha256:a39b08b826c9d5a5532ff424c03a3a11a202967544e389aca4b06c2bd8aef63f",
            ),
            RemoteFile(
                "imagenet_comp_graph_label_strings.txt",
                "sha256:da2a31ecfe9f212ae8dd07379b11a74cb2d7a110eba12c5fc8c862a65b8e6606",
            ),
        ),
    ),
    _keras(
        "inception_v3",
        "Inception v3",
        "InceptionV3",
        _input(299, "RGB", (_HALF, _HALF, _HALF), 1 / _HALF),
        "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:9a0d58056eeedaa3f26cb7ebd46da564",
    ),
    _keras(
        "mobilenet_v2",
        "MobileNet v2 1.0",
        "MobileNetV2",
        _input(224, "RGB", (_HALF, _HALF, _HALF), 1 / _HALF),
        "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
        "",
    ),
    _keras(
        "resnet50",
        "ResNet-50 v1",
        "ResNet50",
        _input(224, "BGR", (103.939, 116.779, 123.68), 1.0),
        "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:2cb95161c43110f7111970584f804107",
    ),
    _keras(
        "xception",
        "Xception",
        "Xception",
        _input(299, "RGB", (_HALF, _HALF, _HALF), 1 / _HALF),
        "xception/xception_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:0a58e3b7378bc2990ea3b43d5981f1f6",
    ),
)


def known_model(name: str) -> CatalogueModel:
    """Raises LookupError with the names that there are."""
    for model in CATALOGUE:
        if model.name == name:
            return model
    names = ", ".join(one.name for one in CATALOGUE)
    raise LookupError(f"{name!r} is not in the catalogue; there are {names}")
