# The only list of public names. Type checkers read this file, and __init__.py imports
# each name from the module given here when it is first used.

from verify.backward import Gradients as Gradients
from verify.backward import backprop as backprop
from verify.checks.against_keras import check as check
from verify.checks.against_outputs import compare_outputs as compare_outputs
from verify.checks.assertions import assert_matches_predict as assert_matches_predict
from verify.checks.assertions import assert_outputs_match as assert_outputs_match
from verify.checks.checkpoint import Watch as Watch
from verify.checks.load import load as load
from verify.checks.selftest import SelfTest as SelfTest
from verify.checks.selftest import selftest as selftest
from verify.errors import DataError as DataError
from verify.errors import ModelFileError as ModelFileError
from verify.errors import UnsupportedError as UnsupportedError
from verify.errors import VerifyError as VerifyError
from verify.forward.evaluate import LayerTrace as LayerTrace
from verify.forward.layers.base import LayerType as LayerType
from verify.forward.layers.base import Option as Option
from verify.forward.network import Network as Network
from verify.forward.own_layers import layer_type as layer_type
from verify.forward.own_layers import register as register
from verify.forward.own_layers import registering as registering
from verify.forward.own_layers import unregister as unregister
from verify.forward.trace import Trace as Trace
from verify.model.conventions import Convention as Convention
from verify.model.conventions import conventions as conventions
from verify.model.conventions import from_framework as from_framework
from verify.model.conventions import to_framework as to_framework
from verify.model.spec import LayerSpec as LayerSpec
from verify.model.spec import ModelSpec as ModelSpec
from verify.ports.convert.conversion import Conversion as Conversion
from verify.ports.convert.conversion import convert as convert
from verify.ports.export_report import ExportReport as ExportReport
from verify.ports.exported import compare_exported as compare_exported
from verify.ports.vectors.write import WrittenVectors as WrittenVectors
from verify.ports.vectors.write import write_vectors as write_vectors
from verify.report.describe import describe as describe
from verify.report.report import Report as Report
from verify.tolerance.compare import Verdict as Verdict

__version__: str
__all__: list[str]
