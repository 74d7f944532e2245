"""The Open Inference Protocol v2 over REST, with Triton's extensions: binary tensor data, classification, model
configuration, statistics, model repository.

Read `request.py` and `response.py` (text in, values out, no I/O), `infer.py` for an inference's way, `views.py` for
everything else that can be asked.
"""
