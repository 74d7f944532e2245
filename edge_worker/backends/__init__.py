"""What computes: one module per engine, each the only importer of its library."""
