"""What runs inside Pipsqueak's sandboxes: zygotes and functions.

The supervisor starts `__main__` with the interpreter of an environment. It must stay small: a
function that finds no zygote pays for importing it.
"""
