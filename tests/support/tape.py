"""Autodiff of one's own in reverse and in forward mode, over any array library, with a sample."""

from array_api_compat import array_namespace, size


class Node:
    """A value on the tape, with its inputs and how a cotangent is pulled back to each."""

    def __init__(self, value, *pullbacks):
        self.value, self.pullbacks, self.cotangent = value, pullbacks, 0

    def backward(self, cotangent):
        order, seen = [], set()

        def visit(node):
            if id(node) not in seen:
                seen.add(id(node))
                for parent, _ in node.pullbacks:
                    visit(parent)
                order.append(node)

        visit(self)
        self.cotangent = cotangent
        for node in reversed(order):
            for parent, pull in node.pullbacks:
                parent.cotangent = parent.cotangent + pull(node.cotangent)


class Dual:
    """A value and its tangent."""

    def __init__(self, value, tangent):
        self.value, self.tangent = value, tangent


def matmul(a, b):
    if isinstance(a, Dual):
        return Dual(a.value @ b.value, a.tangent @ b.value + a.value @ b.tangent)
    return Node(a.value @ b.value, (a, lambda g: g @ b.value.T), (b, lambda g: a.value.T @ g))


def squared_error(x, target):
    xp = array_namespace(x.value)
    error = x.value - target
    if isinstance(x, Dual):
        return Dual(xp.mean(error**2), xp.mean(2 * error * x.tangent))
    return Node(xp.mean(error**2), (x, lambda g: g * 2 * error / size(error)))


def sample(estimator, logits, **how):
    draw = estimator.sample(logits.value, **how)
    if isinstance(logits, Dual):
        return Dual(draw.value, draw.jvp(logits.tangent))
    return Node(draw.value, (logits, draw.vjp))
