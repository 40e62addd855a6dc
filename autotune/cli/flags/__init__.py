"""Declares the flags of the command line in one table, and the dataclasses that gather what a command takes of them."""
