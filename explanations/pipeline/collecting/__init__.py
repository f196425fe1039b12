"""A subject model and a corpus to neuron records: what every neuron does on every excerpt, in one pass.

`corpus` cuts texts into excerpts, `collector` runs the model and keeps what is needed, `merging` joins shards, `result`
makes records of it. Importing this loads neither torch nor numba.
"""
