"""What the gateway is compared with, started by the scenarios themselves: nginx and servers that work one at a time."""
