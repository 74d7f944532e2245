"""The private side: runs models, and dials out to gateways. Only `serve`, which is for that, accepts connections."""
