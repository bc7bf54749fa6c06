"""Node processes driven by a parent: what the benchmark and the demo are made of.

`channel` is the control channel (JSON lines over the pipes of a child), `node` the child that holds
a node, `fleet` the parent's side: start, ask, kill, restart. It is a harness for runs on one
machine, not a client protocol: whoever holds the pipe controls the node.
"""
