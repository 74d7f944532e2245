"""TensorFlow Serving's REST API, and KServe's v1, which has the same paths with two answers of its own.

Read `request.py` and `documents.py` (text in, values out), then `predict.py` and `views.py`.
"""
