"""Every mechanical change of a source file: one operator, constant, sign, axis, transpose or statement at a time."""

import ast
import copy

import numpy as np

SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
           ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
           ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
RENAMED = {"add": "subtract", "subtract": "add", "multiply": "divide", "divide": "multiply", "maximum": "minimum",
           "minimum": "maximum", "sum": "mean", "max": "min", "min": "max", "sum_rows": "rows"}
OPTIONAL = ("rng", "padding_mask", "memory_padding_mask")
INITIAL = ("__init__", "initial")                       # the values that training starts from are not maths


def mutants(source, large=False):
    """Yield (function, before, after, make) for every change of one place in one statement; make() gives the tree.

    large   True: the change is there only where the function holds something large, and inside functions alone
    """
    tree = ast.parse(source)
    for function, statement in _statements(tree):
        before = ast.unparse(statement)
        for change in _changes(statement) if function or not large else ():
            new = change(copy.deepcopy(statement))
            after = ast.unparse(new)
            if after != before:
                yield (function, *_shortened(before, after),
                       lambda old=statement, new=new: _changed(tree, old, new, large))


def _changed(tree, old, new, large):
    """A copy of the tree with one statement replaced."""
    mutated = copy.deepcopy(tree)
    place, i = _same_place(tree, mutated, old)
    place[i] = ast.If(ast.parse("__import__('tests').mutants.mechanical.is_large(locals())").body[0].value,
                      [new], [place[i]]) if large else new
    return ast.fix_missing_locations(mutated)


def is_large(names):
    """Whether one of these is an array with an axis longer than 64, a number above 64, or a list of more than 3."""
    for a in names.values():
        sizes = (a,) if type(a) is int else (a.size and max(a.shape),) if isinstance(a, np.ndarray) and a.ndim else ()
        if any(n > 64 for n in sizes) or (isinstance(a, list) and len(a) > 3):
            return True
    return False


def _shortened(before, after):
    """Both statements; of those that are long, the first line, or what is around the difference."""
    before, after = before.split("\n")[0], after.split("\n")[0]
    if max(len(before), len(after)) < 160:
        return before, after
    first = next(i for i, (a, b) in enumerate(zip(before + " ", after + "  ")) if a != b)
    return before[first - 20:first + 30], after[first - 20:first + 30]


def _statements(tree):
    """Every statement (of an if, for or while its header), with the name of its function."""
    for top in tree.body:
        if isinstance(top, ast.FunctionDef) and top.name not in INITIAL:
            yield from ((top.name, s) for s in ast.walk(top) if isinstance(s, ast.stmt) and s is not top)
        elif isinstance(top, ast.ClassDef):
            for method in top.body:
                if isinstance(method, ast.FunctionDef) and method.name not in INITIAL:
                    yield from ((f"{top.name}.{method.name}", s) for s in ast.walk(method)
                                if isinstance(s, ast.stmt) and s is not method)
        elif isinstance(top, ast.Assign):
            yield "", top


def _same_place(tree, mutated, statement):
    """(list, index) in the copy of the tree where the statement stands in the tree."""
    for old, new in zip(ast.walk(tree), ast.walk(mutated)):
        for _, value in ast.iter_fields(old):
            if isinstance(value, list) and any(v is statement for v in value):
                field = next(f for f, v in ast.iter_fields(old) if v is value)
                return getattr(new, field), next(i for i, v in enumerate(value) if v is statement)
    raise LookupError(ast.unparse(statement))


def _changes(statement):
    """Functions that change one place in a copy of the statement each, and return it."""
    if isinstance(statement, (ast.AugAssign, ast.Raise)) or (
            isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant)):
        yield lambda s: ast.Pass()
    if isinstance(statement, ast.If):
        yield lambda s: _with(s, test=ast.Constant(True))
        yield lambda s: _with(s, test=ast.Constant(False))
    if isinstance(statement, ast.Assign) and _is_passed_on(statement):
        yield lambda s: _with(s, value=_passed_on(s))
    for i, node in enumerate(_nodes(statement)):
        for new in _variants(node):
            yield lambda s, i=i, new=new: _replaced(s, i, new)


def _is_passed_on(statement):
    """x = f(x, ...), or x, cache = f(x, ...): a layer that could be left out."""
    target, call = statement.targets[0], statement.value
    first = target.elts[0] if isinstance(target, ast.Tuple) else target
    return (isinstance(first, ast.Name) and isinstance(call, ast.Call) and bool(call.args)
            and isinstance(call.args[0], ast.Name) and call.args[0].id == first.id
            and (not isinstance(target, ast.Tuple) or len(target.elts) == 2))


def _passed_on(statement):
    """x, or x and no cache."""
    x = statement.value.args[0]
    return ast.Tuple([x, ast.Constant(None)]) if isinstance(statement.targets[0], ast.Tuple) else x


def _nodes(statement):
    """All nodes of a statement but those of its body, and not its text or type: messages and hints do not count."""
    queue = [statement]
    while queue:
        node = queue.pop(0)
        yield node
        if isinstance(node, (ast.JoinedStr, ast.Raise)):
            continue
        for name, value in ast.iter_fields(node):
            if name not in ("body", "orelse", "annotation") or isinstance(node, ast.IfExp):
                queue += [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, ast.AST)]


def _replaced(statement, i, new):
    """The statement with its i-th node replaced."""
    target = list(_nodes(statement))[i]
    if target is statement:
        return new(statement)

    class Replace(ast.NodeTransformer):
        def visit(self, node):
            return new(node) if node is target else self.generic_visit(node)

    return Replace().visit(statement)


def _variants(node):
    """Functions that turn a node into a wrong one."""
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in SWAPPED:
        yield lambda n: _with(n, op=SWAPPED[type(n.op)]())
    if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.LShift):
        yield lambda n: n.left
        yield lambda n: n.right
    if isinstance(node, ast.Compare):
        yield lambda n: _with(n, ops=[SWAPPED.get(type(op), type(op))() for op in n.ops])
    if isinstance(node, ast.UnaryOp):
        yield lambda n: n.operand
    if isinstance(node, ast.IfExp):
        yield lambda n: n.body
        yield lambda n: n.orelse
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield lambda n: _with(n, value=n.value + 1 if type(n.value) is int else n.value * 1.01 or 0.01)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield lambda n: _with(n, value=not n.value)
    if isinstance(node, ast.Attribute) and node.attr in RENAMED:
        yield lambda n: _with(n, attr=RENAMED[n.attr])
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield lambda n: n.value
    if isinstance(node, ast.Call):
        for k, argument in enumerate(node.args):
            if isinstance(argument, ast.Name) and argument.id in OPTIONAL:
                yield lambda n, k=k: _with(n, args=[*n.args[:k], ast.Constant(None), *n.args[k + 1:]])
        if isinstance(node.func, ast.Attribute) and node.func.attr == "swapaxes":
            yield lambda n: n.func.value
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("subtract", "divide"):
            yield lambda n: _with(n, args=[n.args[1], n.args[0], *n.args[2:]])
        for k, keyword in enumerate(node.keywords):
            if keyword.arg in ("axis", "keepdims", "order"):
                yield lambda n, k=k: _with(n, keywords=n.keywords[:k] + n.keywords[k + 1:])


def _with(node, **fields):
    for name, value in fields.items():
        setattr(node, name, value)
    return node
