"""Wrong answers that nobody wrote: every solution of lesson 02, changed by machine, must be judged WRONG.

A mutant flips a sign, swaps an operator, drops a factor or a call, changes an axis, a number, a comparison, or
sum and mean. Only mutants that change what the function does count: they are compared with the solution on inputs
drawn here, not on those of the checks.
"""

import ast
import copy
import inspect
import textwrap

import numpy as np
import pytest

from agentlab.exercises import loss
from agentlab.exercises.engine import PASSED

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.MatMult: ast.Mult,
    ast.NotEq: ast.Eq, ast.Gt: ast.Lt, ast.GtE: ast.Lt,
}  # fmt: skip
NAMES = {
    "sum": "mean",
    "mean": "sum",
    "max": "min",
    "maximum": "minimum",
    "log1p": "log",
    "exp": "expm1",
    "abs": "square",
}


def variants(node):
    """Every way to change one node of the tree."""
    if isinstance(node, ast.BinOp):
        if type(node.op) in SWAPS:
            yield ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
        yield node.left  # drop the right factor or summand
        yield node.right
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield ast.Compare(node.left, [SWAPS[type(node.ops[0])]()], node.comparators)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield from (ast.Constant(v) for v in (node.value + 1, node.value - 1, -node.value))
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield ast.Attribute(node.value, NAMES[node.attr], node.ctx)
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    if isinstance(node, ast.Call):
        yield from node.args[:1]  # drop the call, keep what went in
        for n, keyword in enumerate(node.keywords):
            yield ast.Call(node.func, node.args, node.keywords[:n] + node.keywords[n + 1 :])
            if keyword.arg == "axis":
                other = copy.deepcopy(node)
                other.keywords[n].value = ast.Constant(0)
                yield other
    if isinstance(node, ast.Return):
        yield ast.Return(ast.UnaryOp(ast.USub(), node.value))
    if isinstance(node, (ast.Assign, ast.AugAssign)):
        yield ast.Pass()


class Replace(ast.NodeTransformer):
    def __init__(self, number, new):
        self.number, self.new, self.seen = number, new, -1

    def visit(self, node):
        self.seen += 1
        if self.seen == self.number:
            return self.new
        return self.generic_visit(node)


def preorder(tree):
    """Nodes in the order in which a NodeTransformer visits them."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from preorder(child)


def mutants(function):
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    original = ast.unparse(tree)
    seen = {original}
    for number, node in enumerate(preorder(tree)):
        for new in variants(node):
            try:
                changed = Replace(number, copy.deepcopy(new)).visit(copy.deepcopy(tree))
                source = ast.unparse(ast.fix_missing_locations(changed))
                code = compile(source, "mutant", "exec")
            except (SyntaxError, TypeError, ValueError, AttributeError):
                continue
            if source in seen:
                continue
            seen.add(source)
            names = dict(vars(loss))
            exec(code, names)
            yield source, names[function.__name__]


def inputs(id, rng):
    """Other inputs than the checks draw: larger, smaller and at the edges."""
    n, c, d = (int(rng.integers(2, 12)) for _ in range(3))
    y, z = rng.integers(0, 2, n).astype(float), rng.normal(0, rng.choice([0.5, 5, 200]), n)
    Z = rng.normal(0, 3, (n, c + 1)) + rng.choice([0, 900]) * rng.integers(0, 2, (n, 1))
    labels = rng.integers(0, c + 1, n)
    if id == "dl_dp":
        return y, rng.uniform(0.01, 0.99, n)
    if id in ("dl_dz", "bce_from_logits"):
        return y, z
    if id in ("dl_dw", "dl_db"):
        return rng.normal(size=(n, d)), y, rng.normal(size=d), float(rng.normal())
    if id == "log_sum_exp":
        return (Z,)
    if id == "softmax_dz":
        return labels, Z
    if id == "smoothed_dz":
        return labels, Z, rng.uniform(0.2, 5, c + 1), float(rng.uniform(0.01, 0.5))
    if id == "masked_dz":
        tokens = rng.integers(-1, 3, (n, d))
        return np.where(tokens < 0, -100, tokens), rng.normal(0, 3, (n, d, 3))
    log_p = rng.normal(0, 2, (n, c + 1))
    return labels, log_p - np.log(np.exp(log_p).sum(1, keepdims=True))


def outcome(function, arguments):
    with np.errstate(all="ignore"):
        try:
            return np.asarray(function(*copy.deepcopy(arguments)), dtype=float)
        except Exception as error:
            return type(error).__name__


def behaves_otherwise(id, function, mutant):
    rng = np.random.default_rng(0)
    for _ in range(40):
        arguments = inputs(id, rng)
        a, b = outcome(function, arguments), outcome(mutant, arguments)
        if isinstance(b, str) or a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-12, equal_nan=True):
            return True
    return False


def count(exercise):
    id = exercise.id.removeprefix("loss.")
    changed = [(s, m) for s, m in mutants(exercise.solution) if behaves_otherwise(id, exercise.solution, m)]
    survivors = [source for source, mutant in changed if exercise.judge(mutant).state == PASSED]
    return len(changed), survivors


@pytest.mark.filterwarnings("ignore")
def test_at_least_95_percent_of_the_mutants_are_caught(capsys):
    total, lived = 0, []
    lines = []
    for exercise in loss.EXERCISES:
        changed, survivors = count(exercise)
        assert changed >= 5, f"{exercise.id}: only {changed} mutants"
        total, lived = total + changed, lived + survivors
        lines.append(f"  {exercise.id:24} {changed - len(survivors)} of {changed}")
    with capsys.disabled():
        print("\nMutants of lesson 02 caught")
        print("\n".join(lines))
        print(f"  {'all':24} {total - len(lived)} of {total}")
    assert len(lived) <= 0.05 * total, "\n\n".join(lived)
