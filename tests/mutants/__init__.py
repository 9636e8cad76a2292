"""Who checks the checks?  Mistakes are planted in the layers, one at a time, and every one has to be found.

    planted.py      the classic mistakes, by name: what a person gets wrong
    mechanical.py   every operator, constant, sign, axis and transpose, changed by machine
    equivalent.py   the mechanical changes that change nothing, each with the reason
    __main__.py     python -m tests.mutants: runs them all, and prints which check found how many
"""
