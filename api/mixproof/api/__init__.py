"""The Python interface: stores, builds and runs as records and tables, and the work of the commands as functions."""
