"""Networks made on this machine, with random weights or from published ones: importing this loads TensorFlow."""

from edge_worker.models.networks.frozen import frozen_graph
from edge_worker.models.networks.googlenet import random_googlenet
from edge_worker.models.networks.keras_application import keras_bytes, published, random

__all__ = ["frozen_graph", "keras_bytes", "published", "random", "random_googlenet"]
