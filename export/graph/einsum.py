"""Einsum of one or two tensors as sums, transposes and one matrix product."""

from __future__ import annotations

import math

import numpy as np

from .composition import Composition


def compose_einsum(one: Composition) -> None:
    """Given an equation of two tensors, each letter once in each; result MatMul, and what turns its sides.

    Given   Einsum(x (1, 8, 7, 7), w (4, 8)), bchw,oc->bohw
    Result  Transpose(x) (b, h, w, c) -> Reshape -> MatMul(c, o) -> Reshape (b, h, w, o) -> Transpose (b, o, h, w)
    """
    parsed = _parsed(one)
    if parsed is None:
        return
    (left, right), result = parsed
    sizes = {
        letter: side
        for place, word in enumerate((left, right))
        for letter, side in zip(word, one.shape(place), strict=True)
    }
    names, words = list(one.node.input), [left, right]
    for place, other in ((0, right), (1, left)):
        alone = [letter for letter in words[place] if letter not in other and letter not in result]
        if alone:
            axes = [words[place].index(letter) for letter in alone]
            names[place] = one.reduce("ReduceSum", names[place], axes, keep=False)
            words[place] = "".join(letter for letter in words[place] if letter not in alone)
    left, right = words
    batch = "".join(letter for letter in left if letter in right and letter in result)
    inner = "".join(letter for letter in left if letter in right and letter not in result)
    rows = "".join(letter for letter in left if letter not in right)
    columns = "".join(letter for letter in right if letter not in left)
    sides = tuple(sizes[letter] for letter in batch)
    many = {group: math.prod(sizes[letter] for letter in group) for group in (inner, rows, columns)}
    first = _turned(one, names[0], left, batch + rows + inner, (*sides, many[rows], many[inner]), sizes)
    second = _turned(one, names[1], right, batch + inner + columns, (*sides, many[inner], many[columns]), sizes)
    found = batch + rows + columns
    perm = [found.index(letter) for letter in result]
    whole, turned = len(rows) != 1 or len(columns) != 1, perm != list(range(len(perm)))
    if not whole and not turned:
        one.last("MatMul", first, second)
        return
    product = one.step("MatMul", first, second)
    if whole:
        product = one.reshape(product, tuple(sizes[letter] for letter in found), last=not turned)
    if turned:
        one.last("Transpose", product, perm=perm)


def _parsed(one: Composition) -> tuple[tuple[str, str], str] | None:
    """Gives the letters of both tensors and of the result; None for an equation of another kind."""
    equation = str(one.attribute("equation")).replace(" ", "")
    given, arrow, result = equation.partition("->")
    words = given.split(",")
    if not arrow or len(words) != 2 or "." in equation or not all(one.shape(place) for place in (0, 1)):
        return None
    if any(len(set(word)) != len(word) for word in (*words, result)) or not set(result) <= set("".join(words)):
        return None
    return (words[0], words[1]), result


def _turned(one: Composition, name: str, word: str, order: str, sides: tuple[int, ...], sizes: dict[str, int]) -> str:
    """Gives the tensor with its letters in `order`, and then of the shape `sides`."""
    perm = [word.index(letter) for letter in order]
    values = one.view.constant(name)
    if values is not None:
        return one.constant(np.ascontiguousarray(values.transpose(perm).reshape(sides)))
    if perm != list(range(len(perm))):
        name = one.step("Transpose", name, perm=perm)
    return name if tuple(sizes[letter] for letter in order) == sides else one.reshape(name, sides)
