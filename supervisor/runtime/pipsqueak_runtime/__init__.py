"""What runs inside Pipsqueak's sandboxes: zygotes and functions.

The supervisor starts `__main__` with the interpreter of an environment. It must stay small: a
function that finds no zygote pays for importing it.

Functions and packages put what they like in the place of what modules have: clocks, threads, files,
even built-in functions. So what runs after them uses what it has bound ahead of them: `own_builtins` is
in the place of a module's `__builtins__`, and clocks and threads are not those of `time` and `threading`.
"""

import builtins

own_builtins = dict(vars(builtins))
