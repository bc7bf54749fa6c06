"""The demonstration behind `quorumlog demo`: real input, real processes, a killed leader.

`story` tells it from beginning to end, `proposers` brings the lines in and retries, `worker` and
`lines` are a node's process and state machine, `verdict` says whether anything was lost, `show` is
what one sees.
"""
