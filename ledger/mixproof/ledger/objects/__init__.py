"""Stores on object stores: the objects, and their copies on this machine."""
