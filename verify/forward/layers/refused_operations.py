"""Say why operations of Keras are refused that no layer type reads.

Every class of ``keras.ops`` is either in `verify.forward.layers.REGISTRY` or here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_CODE = "it runs Python functions, which are not in the file; build it from layers"
_ROWS = (
    "it mixes, counts or moves the rows of a batch, and rows are computed one by one; "
    "compute it before or after the model"
)
_MADE = "it makes numbers of no input; give them to the model as a constant or an input"
_LOSS = "it is a loss or a measure, which is computed after the model"
_BITS = "it computes with bits of whole numbers; compute it before the model"
_CHOICE = "its result is not unique, so that two right programs differ; leave it out"
COMPLEX = "complex numbers are not read; give real and imaginary parts by themselves"
_IMAGES = "it changes images; compute it before the model, or use a layer"
_WEIGHTS = "its weights are given by the call; use the layer of that name"
_POOLING = "use the layer that computes it, such as MaxPooling1D or AveragePooling2D"
_UNREAD = (
    "it is not supported; build it from other operations, or compute it before the "
    "model"
)

_NAMES: Mapping[str, str] = {
    _CODE: "AssociativeScan Cond ForiLoop JVP Map Scan Switch VectorizedMap WhileLoop",
    _ROWS: (
        "AllClose Append Bincount Corrcoef Correlate Diag Diagflat Flipud Histogram "
        "Inner Kron Lstsq MatrixRank Meshgrid Nonzero Outer Ravel Rearrange Scatter "
        "ScatterUpdate SegmentMax SegmentMin SegmentProd SegmentReduction SegmentSum "
        "Size SliceUpdate Unique UnravelIndex Vander Vdot View Vsplit Vstack"
    ),
    _MADE: "Arange Array EmptyLike Full Geomspace Linspace Logspace Ndim",
    _LOSS: (
        "BinaryCrossentropy CTCDecode CTCLoss CategoricalCrossentropy InTopK PSNR SSIM "
        "SparseCategoricalCrossentropy"
    ),
    _BITS: (
        "BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr "
        "BitwiseRightShift BitwiseXor Gcd Lcm Ldexp LeftShift Nextafter RightShift"
    ),
    _CHOICE: "Argpartition Eig Eigh LuFactor Qr SVD",
    COMPLEX: (
        "Angle Conj Conjugate FFT2 IFFT2 Imag Isreal Polar Real ViewAsComplex "
        "ViewAsReal"
    ),
    _IMAGES: (
        "AffineTransform CropImages DepthToSpace ElasticTransform ExtractPatches Fold "
        "GaussianBlur HSVToRGB MapCoordinates PadImages PerspectiveTransform "
        "RGBToGrayscale RGBToHSV Resize ScaleAndTranslate SobelEdges SpaceToDepth "
        "Unfold"
    ),
    _WEIGHTS: (
        "BatchNorm Conv ConvTranspose DepthwiseConv LayerNorm RMSNorm SeparableConv"
    ),
    _POOLING: "AdaptiveAveragePool AdaptiveMaxPool AveragePool MaxPool",
    _UNREAD: (
        "CDist Cholesky CholeskyInverse Cross Digitize Dsplit Dstack Erfinv Fabs "
        "Hsplit I0 IsIn Isclose Logaddexp2 Logdet Moments MultiHot Nanargmax Nanargmin "
        "Nancumprod Nancumsum Nanmedian Nanpercentile Nanquantile Percentile Pinv "
        "Quantile Rot90 SaturateCast SearchSorted Select Slogdet Solve SolveTriangular "
        "Trapezoid"
    ),
}

REASONS: Mapping[str, str] = MappingProxyType(
    {
        **{
            f"ops.{name}": reason
            for reason, names in _NAMES.items()
            for name in names.split()
        },
        "ops.BroadcastTo": (
            "it holds the number of rows, so that it fails for any other; add zeros of "
            "that shape, or use ops.repeat or ops.tile along another axis"
        ),
    }
)
"""Operation -> why it is refused and what to do."""
