"""The ONNX operators that every way out of a file takes: TFLite, Core ML, and training in PyTorch.

The list is what face embedders of the last ten years are exported with. A test holds the three tables against it.
"""

from __future__ import annotations

FACE_OPERATORS = tuple(
    """
    Conv ConvTranspose Gemm MatMul Einsum
    BatchNormalization InstanceNormalization GroupNormalization LayerNormalization RMSNormalization LpNormalization LRN
    MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool
    Relu LeakyRelu PRelu Clip Elu Selu Celu ThresholdedRelu Sigmoid HardSigmoid HardSwish Swish Tanh Softplus Softsign
    Mish Gelu Erf Softmax LogSoftmax
    Add Sub Mul Div Pow Max Min Sum Mean Abs Neg Exp Log Sqrt Reciprocal Sin Cos Floor Ceil Round Sign
    Greater GreaterOrEqual Less LessOrEqual Equal Not And Or Where
    ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp
    Reshape Flatten Squeeze Unsqueeze Transpose Expand Tile Concat Split Slice Gather Pad Resize Upsample
    DepthToSpace SpaceToDepth Cast Identity Dropout
    """.split()
)
