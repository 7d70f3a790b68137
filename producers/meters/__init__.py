"""One file per meter, all behind `producers.ports.Sampler`."""
