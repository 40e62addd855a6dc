"""The flags of the command line: one table of all, and the dataclasses that gather what a command takes of them."""
