"""The engine: it acts on what the rules decide, and has never heard of a backend."""
