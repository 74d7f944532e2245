"""An engine in a process of its own, and the backend that keeps one running.

What decodes pictures and computes may crash, hang, or keep Python's lock and the cores to itself. In the worker's own
process that would disturb its heartbeats, or end its tunnels. Here it can be killed and started anew.
"""
