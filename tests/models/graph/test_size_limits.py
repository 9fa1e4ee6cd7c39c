"""How large the results of a graph become is known before it is run, however its shapes are written."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pocketface.models.graph.size_limits import check_sizes, shapes_for_one_face


def test_shapes_that_follow_one_from_the_other_are_found_to_the_last():
    # LeViT's, thirty times: x -> MatMul -> rows for the norm -> back to the shape that it had before
    weights = numpy_helper.from_array(np.zeros((6, 6), np.float32), "w")
    nodes = []
    for n in range(30):
        nodes += [
            helper.make_node("MatMul", [f"x{n}", "w"], [f"m{n}"]),
            helper.make_node("Shape", [f"m{n}"], [f"s{n}"]),
            helper.make_node("Flatten", [f"m{n}"], [f"f{n}"], axis=2),
            helper.make_node("Reshape", [f"f{n}", f"s{n}"], [f"x{n + 1}"]),
        ]
    face = helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, 4, 6])
    row = helper.make_tensor_value_info("x30", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph(nodes, "net", [face], [row], [weights]), opset_imports=[helper.make_opsetid("", 13)]
    )
    check_sizes(model, "net")
    assert shapes_for_one_face(model, "net")["x30"] == (1, 4, 6)
