"""A network between two TCP ends of one machine, in user space: delay, jitter, rate, stalls, resets, and real loss.

profile.py    the figures of a network, and the named ones with their sources
jitter.py     named distributions, correlated over time            stalls.py   when nothing moves
bottleneck.py the rule of one way: a piece and a time in, its time of arrival or its loss out. Pure
carrier.py    waits for those times and delivers                   tally.py    counts, and how late it was
relay.py      connections through two carriers                     sockets.py  its two ends, with little in the kernel
packets.py    IP packets through two carriers, between TUN devices in two namespaces (namespace.py): real TCP, real loss
command.py    one relay of either kind, from its start to its report
process.py    `network(...)`: the relay as a process of its own, for other programs
self_test.py  what the relay adds by itself
"""
