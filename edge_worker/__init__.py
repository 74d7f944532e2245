"""The private side: dials out to gateways, runs models, accepts no connection."""
