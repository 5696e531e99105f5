"""Adapters: one package a backend, found by entry point (group ``ntaylor.backends``)."""
