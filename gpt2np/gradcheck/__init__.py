"""Proof that the layers are right: every pair and module in one table, every check on every row.

    checks.py       the checks that need no knowledge of a layer: adjoint, finite differences, order, contract
    laws/           what must hold for one layer in particular: rows that sum to 1, causality, invariances
    references/     each forward once more, with scalar loops, straight from its formula
    cases/          the table: one row for each pair and module, right below the function that makes it
    large.py        the same table at large sizes
    __main__.py     python -m gpt2np.gradcheck: the report

NumPy is all it needs, so it runs wherever the package does.  The tests draw the shapes and use the same table.
"""
