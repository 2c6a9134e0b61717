"""Language models: connecting, the embedded engine, and the ledger through which every call passes."""
